"""Choose how many words to append, from texts and the length of a run.

The rule: take the largest count at which

- the last thousand words save at least a given fraction of all tokens. Each word costs a row of the
  embedding and one of the output layer, in memory and in the computation of every token; and
- each word is expected at least a given number of times in the run. Rarer ones, among them parts of
  longer words that hardly occur alone, are left out with the words that are built from them only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from linly.tokenization.tokenizer import Tokenizer
from linly.tokenization.words.word_merges import WordMerge
from linly.tokenization.words.word_vocabulary import append_words, usable_words

MAX_COUNT = 32_000
"""Largest count that is considered."""

_COUNTS = (0, 500, 1000, 2000, 4000, 6000, 8000, 12_000, 16_000, 24_000, MAX_COUNT)
_MEASURED_EVERY = 10
_TEXTS_AT_ONCE = 256
_MAX_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class CountPoint:
    """Fertility with the first `count` words.

    Attributes:
        count: Number of words.
        tokens_per_character: Tokens per character of texts that no word was learned from.
    """

    count: int
    tokens_per_character: float


def split_texts(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split texts into those to learn from, and a tenth to measure on."""
    measured = list(texts[::_MEASURED_EVERY])
    learned = [text for place, text in enumerate(texts) if place % _MEASURED_EVERY]
    return learned, measured


def measure_counts(
    base: Tokenizer, merges: Sequence[WordMerge], texts: Sequence[str]
) -> tuple[CountPoint, ...]:
    """Fertility on texts with the first words, at several counts up to all of them."""
    num_characters = max(1, sum(map(len, texts)))
    counts = [*(count for count in _COUNTS if count < len(merges)), len(merges)]
    return tuple(
        CountPoint(count, int(_occurrences(new, texts).sum()) / num_characters)
        for count in counts
        for new in (append_words(base, merges[:count]).tokenizer,)
    )


def largest_worthwhile(points: Sequence[CountPoint], least_gain: float) -> int:
    """The largest count before the gain per thousand words falls below `least_gain`.

    Args:
        points: Fertility by count, ascending.
        least_gain: Smallest fraction of tokens that a thousand words must save.
    """
    for before, after in pairwise(points):
        saved = 1 - after.tokens_per_character / before.tokens_per_character
        if saved * 1000 < least_gain * (after.count - before.count):
            return before.count
    return points[-1].count


def without_rare(
    base: Tokenizer, merges: Sequence[WordMerge], texts: Sequence[str], least: float
) -> tuple[WordMerge, ...]:
    """Words that occur at least `least` times in texts encoded with the words that remain."""
    kept = tuple(merges)
    for _ in range(_MAX_ROUNDS):
        counts = _occurrences(append_words(base, kept).tokenizer, texts)[base.vocab_size :]
        if not np.any(counts < least):
            return kept
        frequent = [merge for merge, n in zip(kept, counts.tolist(), strict=True) if n >= least]
        kept = usable_words(base, _still_built(frequent))
    return kept


def _still_built(merges: Sequence[WordMerge]) -> list[WordMerge]:
    """Words whose parts of several tokens are words before them."""
    known: set[tuple[int, ...]] = set()
    kept = []
    for merge in merges:
        if all(len(part) == 1 or part in known for part in merge):
            known.add(merge.ids)
            kept.append(merge)
    return kept


def _occurrences(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.int64]:
    """Occurrences of each id in texts: int64 [vocab_size]."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    stream = iter(texts)
    while batch := list(islice(stream, _TEXTS_AT_ONCE)):
        ids = np.concatenate(tokenizer.encode_batch(batch))
        counts += np.bincount(ids, minlength=len(counts))
    return counts
