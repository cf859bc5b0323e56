"""linly.data.documents.encoding: documents to tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linly.data.documents.encoding import encode_documents
from linly.data.types import Document, Segment
from linly.errors import DataError
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_path: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_path)


def document(*segments: Segment) -> Document:
    return Document("shard", 0, segments)


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


def test_a_text_that_cannot_be_encoded_fails_with_its_reason(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        encode_documents(tokenizer, [document(Segment("\ud800", True))])


def test_documents_of_one_record_lie_between_a_bos_and_an_eos_each(tokenizer: Tokenizer) -> None:
    following = Segment("", False, "next")
    one, other = Segment("the river", False), Segment("sings", True)
    first, second = document(one, other), document(other, one)
    both = document(one, other, following, other, one)
    apart = encode_documents(tokenizer, [first, second])
    together, last = encode_documents(tokenizer, [both, first])
    assert together.ids.tolist() == [i for each in apart for i in each.ids.tolist()]
    assert together.supervised.tolist() == [s for e in apart for s in e.supervised.tolist()]
    assert together.starts == (0, len(apart[0].ids))
    assert together.ends == (len(apart[0].ids), len(together.ids))
    assert last.starts == (0,)
    assert last.ids.tolist() == apart[0].ids.tolist()
