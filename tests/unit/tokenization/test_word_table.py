"""The table gives each word the ids it was given, and no other word has them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linly.tokenization.word_table import KEY_BYTES, WordTable, distinct, keys_at

WORDS = st.binary(min_size=1, max_size=KEY_BYTES).filter(lambda word: b"\0" not in word)


def keys_of(words: list[bytes]) -> NDArray[np.uint64]:
    lengths = np.array([len(word) for word in words], np.int64)
    return keys_at(b"".join([*words, b"\xff" * KEY_BYTES]), lengths.cumsum() - lengths, lengths)


def added(table: WordTable, words: list[bytes], ids: list[list[int]]) -> None:
    flat = np.array([token for one in ids for token in one], np.int32)
    table.add(keys_of(words), flat, np.array([len(one) for one in ids], np.int64))


def looked_up(table: WordTable, words: list[bytes]) -> list[list[int]]:
    ids, counts = table.ids_at(table.find(keys_of(words)))
    ends = counts.cumsum()
    return [ids[end - count : end].tolist() for end, count in zip(ends, counts, strict=True)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(WORDS, st.lists(st.integers(0, 99), min_size=1)), max_size=5))
def test_words_have_the_ids_they_were_given(batches: list[dict[bytes, list[int]]]) -> None:
    table, known = WordTable(), {}
    for batch in batches:
        new = {word: ids for word, ids in batch.items() if word not in known}
        if new:
            assert not table.find(keys_of([*new])).any()
            added(table, [*new], [*new.values()])
            known.update(new)
        if known:
            assert looked_up(table, [*known]) == [*known.values()]
        assert len(table) == len(known)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1))
def test_distinct_keys_are_those_of_distinct_words(words: list[bytes]) -> None:
    found = distinct(keys_of(words)).tolist()
    assert sorted(words[index] for index in found) == sorted(set(words))


def test_a_word_is_not_taken_for_a_longer_one() -> None:
    table = WordTable()
    words = [b"a" * length for length in range(1, KEY_BYTES + 1)]
    added(table, words, [[length] for length in range(1, KEY_BYTES + 1)])
    assert looked_up(table, words) == [[length] for length in range(1, KEY_BYTES + 1)]


@pytest.mark.parametrize("before", [b"", b"prefix", b"a longer prefix", b"over two whole parts"])
def test_many_words_that_are_alike_are_found_within_few_slots(before: bytes) -> None:
    table = WordTable()
    words = [before + bytes(letters) for letters in product(b"abcdefghij", repeat=4)]
    added(table, words, [[number] for number in range(len(words))])
    assert looked_up(table, words) == [[number] for number in range(len(words))]
    (used,) = np.nonzero(table._rows[:, 3])
    distance = (used - table._home(table._rows[used])) % len(table._rows)
    assert len(used) == len(words)
    assert distance.mean() < 2


def test_held_ids_last_until_the_next_and_take_no_room() -> None:
    table = WordTable()
    added(table, [b"a"], [[1, 2]])
    for number in range(100):
        places = table.hold(np.arange(5000, dtype=np.int32), np.array([number + 1, 4999 - number]))
        ids, counts = table.ids_at(np.concatenate([table.find(keys_of([b"a"])), places]))
        assert ids.tolist() == [1, 2, *range(5000)]
        assert counts.tolist() == [2, number + 1, 4999 - number]
    assert len(table) == 1
    assert len(table._ids) < 3 * 5000
    added(table, [b"b"], [[3]])
    assert looked_up(table, [b"a", b"b"]) == [[1, 2], [3]]


def test_a_cleared_table_knows_no_word() -> None:
    table = WordTable()
    added(table, [b"a", b"b"], [[1], [2]])
    table.clear()
    assert len(table) == 0
    assert not table.find(keys_of([b"a", b"b"])).any()
