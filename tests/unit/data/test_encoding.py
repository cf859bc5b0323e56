"""linly.data.encoding and linly.data.pool: documents to tokens, here or in processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from linly.data.encoding import encode_documents
from linly.data.pool import EncodingPool
from linly.data.types import Document, EncodedDocument, Segment
from linly.errors import DataError
from linly.tokenization.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_path: Path) -> Tokenizer:
    return Tokenizer.load(tiny_tokenizer_path)


@pytest.fixture
def pool(tokenizer: Tokenizer) -> Iterator[EncodingPool]:
    pool = EncodingPool(tokenizer, 2)
    yield pool
    pool.close()


def document(*segments: Segment, record: int = 0) -> Document:
    return Document("shard", record, segments)


def documents(num: int) -> list[Document]:
    return [
        document(Segment("ask " * (i % 5 + 1), False), Segment(f"answer {i}", True), record=i)
        for i in range(num)
    ]


def equal(one: list[EncodedDocument], other: list[EncodedDocument]) -> bool:
    return len(one) == len(other) and all(
        a.record == b.record
        and np.array_equal(a.ids, b.ids)
        and np.array_equal(a.supervised, b.supervised)
        for a, b in zip(one, other, strict=True)
    )


def test_each_segment_is_encoded_by_itself_between_one_bos_and_one_eos(
    tokenizer: Tokenizer,
) -> None:
    asked, answered = Segment("the river", False), Segment("sings of rain", True)
    (encoded,) = encode_documents(tokenizer, [document(asked, answered)])
    expected = [
        tokenizer.bos_id,
        *tokenizer.encode(asked.text),
        *tokenizer.encode(answered.text),
        tokenizer.eos_id,
    ]
    assert encoded.ids.tolist() == expected
    assert encoded.ids.dtype == np.int32


def test_loss_is_on_supervised_segments_and_on_eos_only_behind_one(tokenizer: Tokenizer) -> None:
    asked, answered = Segment("the river", False), Segment("sings", True)
    one, other, text = encode_documents(
        tokenizer,
        [document(asked, answered), document(answered, asked), document(answered)],
    )
    num_asked, num_answered = len(tokenizer.encode("the river")), len(tokenizer.encode("sings"))
    assert one.supervised.tolist() == [False] * (1 + num_asked) + [True] * (num_answered + 1)
    assert other.supervised.tolist() == (
        [False] + [True] * num_answered + [False] * (num_asked + 1)
    )
    assert text.supervised.tolist() == [False] + [True] * (num_answered + 1)


def test_tokenizing_processes_give_the_same_tokens_in_order(
    tokenizer: Tokenizer, pool: EncodingPool
) -> None:
    batches = [documents(num) for num in (1, 40, 7, 64, 3)]
    results = [pool.submit(batch) for batch in batches]
    for batch, result in zip(batches, results, strict=True):
        assert equal(result(), encode_documents(tokenizer, batch))


def test_a_text_that_cannot_be_encoded_fails_alone_and_with_its_reason(
    tokenizer: Tokenizer, pool: EncodingPool
) -> None:
    bad = pool.submit([document(Segment("\ud800", True))])
    good = pool.submit(documents(3))
    with pytest.raises(DataError, match="lone surrogate"):
        bad()
    assert equal(good(), encode_documents(tokenizer, documents(3)))


def test_a_killed_tokenizing_process_is_an_error_that_names_its_documents(
    pool: EncodingPool,
) -> None:
    pool.submit(documents(2))()
    for child in pool._children:
        os.kill(child.process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"shard, record 0 on \(killed by SIGKILL\)"):
        pool.submit(documents(2))()


def test_closing_the_pool_ends_its_processes_also_stopped_ones(tokenizer: Tokenizer) -> None:
    pool = EncodingPool(tokenizer, 2)
    os.kill(pool._children[0].process.pid, signal.SIGSTOP)
    pool.close()
    assert all(child.process.poll() is not None for child in pool._children)


def test_what_is_held_by_the_pool_is_bounded_in_batches_and_in_characters(
    pool: EncodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linly.data.pool.MAX_HELD_CHARACTERS", 1000)
    for child in pool._children:
        os.kill(child.process.pid, signal.SIGSTOP)
    submitted = []
    while pool.has_room():
        submitted.append(pool.submit(documents(1)))
        assert len(submitted) < 10
    for child in pool._children:
        os.kill(child.process.pid, signal.SIGCONT)
    for result in submitted:
        result()
    assert pool.has_room()
    large = pool.submit([document(Segment("river " * 200, True))])
    assert not pool.has_room()
    large()
    assert pool.has_room()
