"""Learn merges of tokens from runs, with the trainer of the `tokenizers` library.

Each token of the base is one letter of the trainer's alphabet, whatever its text is. So the trainer
continues from where the base's own merges end.

Memory and time grow with the number of different sequences that the trainer sees. A pair of tokens
that occurs fewer than m times is in no merge of m occurrences or more, so runs are cut between such
pairs, after which few different sequences remain. The merges found are those of the whole runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, trainers

from linly.tokenization.words.script_runs import BETWEEN

MAX_LENGTH = 16
"""Largest number of base tokens in a word: longer ones are phrases of few documents."""

MIN_OCCURRENCES = 2

_FIRST_LETTER = 0x10000
_LINES_AT_ONCE = 1 << 20


class WordMerge(NamedTuple):
    """A word: the base tokens of its two parts, which the learned vocabulary merges.

    Attributes:
        left: Ids of the left part.
        right: Ids of the right part.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the word in the base."""
        return self.left + self.right


def learn_merges(
    runs: NDArray[np.int32], count: int, *, show_progress: bool = False
) -> list[WordMerge]:
    """The first `count` merges of byte-pair encoding on runs, the most frequent first.

    Args:
        runs: Ids, with `BETWEEN` before each run.
        count: Number of merges; fewer are returned if no other pair occurs twice.
        show_progress: Whether to draw the trainer's progress on a terminal.
    """
    pairs, counts = _pair_counts(runs)
    least = _first_least(counts, count)
    while True:
        cut = _cut(runs, pairs[counts >= least])
        found = _train(cut, count, least, show_progress=show_progress)
        if len(found) == count or least == MIN_OCCURRENCES:
            return found
        least = max(MIN_OCCURRENCES, least // 2)


def _pair_counts(runs: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, is_pair = _pair_keys(runs)
    pairs, counts = np.unique(keys[is_pair], return_counts=True)
    return pairs, counts.astype(np.int64)


def _pair_keys(runs: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A number for each two neighbours, and whether both are in the same run."""
    keys = runs[:-1].astype(np.int64)
    keys <<= 32
    keys |= runs[1:]
    return keys, (runs[:-1] != BETWEEN) & (runs[1:] != BETWEEN)


def _first_least(counts: NDArray[np.int64], count: int) -> int:
    """A number of occurrences that about `count` merges may reach."""
    if len(counts) <= count:
        return MIN_OCCURRENCES
    return max(MIN_OCCURRENCES, int(np.partition(counts, -count)[-count]) // 2)


def _cut(runs: NDArray[np.int32], frequent: NDArray[np.int64]) -> NDArray[np.int32]:
    """Separate neighbours that are not a frequent pair, and drop what then stands alone."""
    keys, is_pair = _pair_keys(runs)
    places = np.searchsorted(frequent, keys)
    is_pair &= places < len(frequent)
    is_pair[is_pair] = frequent[places[is_pair]] == keys[is_pair]
    joins_next = np.append(is_pair, False)
    joins_last = np.insert(is_pair, 0, False)
    kept = joins_next | joins_last
    (firsts,) = np.nonzero(~joins_last[kept])
    return np.insert(runs[kept], firsts, BETWEEN)


def _train(
    runs: NDArray[np.int32], count: int, least: int, *, show_progress: bool
) -> list[WordMerge]:
    tokens = np.unique(runs[runs != BETWEEN])
    if not len(tokens):
        return []
    trainer = trainers.BpeTrainer(
        vocab_size=len(tokens) + count,
        min_frequency=least,
        max_token_length=MAX_LENGTH,
        show_progress=show_progress,
    )
    trained = tokenizers.Tokenizer(models.BPE())
    trained.train_from_iterator(_spelled(runs, tokens), trainer)
    merges = orjson.loads(trained.to_str())["model"]["merges"]
    table = tokens.tolist()

    def ids(letters: str) -> tuple[int, ...]:
        return tuple(table[ord(letter) - _FIRST_LETTER] for letter in letters)

    return [WordMerge(ids(left), ids(right)) for left, right in merges]


def _spelled(runs: NDArray[np.int32], tokens: NDArray[np.int32]) -> Iterator[str]:
    """Each run as a string, one letter a token."""
    (starts,) = np.nonzero(runs == BETWEEN)
    bounds = [*starts[::_LINES_AT_ONCE].tolist(), len(runs)]
    for first, last in pairwise(bounds):
        part = runs[first + 1 : last]
        letters = np.searchsorted(tokens, part).astype(np.uint32) + np.uint32(_FIRST_LETTER)
        letters[part == BETWEEN] = ord("\n")
        yield from letters.astype("<u4").tobytes().decode("utf-32-le").split("\n")
