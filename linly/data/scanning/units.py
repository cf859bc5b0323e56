"""Normalized units of text, as hashes: what n-grams of leaks and near-duplicates are made of.

    text --NFKC, lower case--> characters --punctuation and spaces removed--> units --> n-grams

A unit is a word or number, or one character of a script that writes no spaces (Chinese, Japanese
kana, Thai and the like). So an n-gram of Chinese is one of characters, and that of English one of
words. Everything is computed for many texts at once by numpy.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SEPARATOR, _WORD, _SINGLE, _IGNORED = range(4)
_LAST = 0x40000
"""First code point that is taken for a separator: only private and special ones follow."""

_WITHOUT_SPACES = (
    (0x0E00, 0x109F),  # Thai, Lao, Tibetan, Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Chinese characters
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_BETWEEN = "\0"
"""Separator of texts; no text of a record contains it."""

_CHARACTER_FACTOR = 0x9E3779B97F4A7C15
_UNIT_FACTOR = 0xD6E8FEB86659FD93
_MIX = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_LONGEST_WORD = 256
"""Characters after which the weights of a word's hash repeat."""


class Units(NamedTuple):
    """Units of several texts, in order.

    Attributes:
        hashes: Hash of each unit, uint64 [n].
        texts: Index of the text that it is in, int64 [n], ascending.
        singles: Whether it is one character of a script without spaces, bool [n].
    """

    hashes: NDArray[np.uint64]
    texts: NDArray[np.int64]
    singles: NDArray[np.bool_]


class Ngrams(NamedTuple):
    """N-grams of several texts; none spans two texts.

    Attributes:
        hashes: Hash of each n-gram, uint64 [m].
        texts: Index of the text that it is in, int64 [m], ascending.
    """

    hashes: NDArray[np.uint64]
    texts: NDArray[np.int64]


def units_of(texts: Sequence[str]) -> Units:
    """Split texts into units.

    Args:
        texts: Texts without NUL and without lone surrogates.
    """
    joined = _BETWEEN.join(map(_composed, texts)).lower()
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    kinds = _kinds()[np.minimum(points, _LAST)]
    if (kinds == _IGNORED).any():
        points, kinds = points[kinds != _IGNORED], kinds[kinds != _IGNORED]
    text_of = np.cumsum(points == 0)
    is_word = kinds == _WORD
    is_single = kinds == _SINGLE
    continues = np.zeros(len(points), np.bool_)
    continues[1:] = is_word[1:] & is_word[:-1]
    kept = np.flatnonzero(is_word | is_single)
    if not len(kept):
        return Units(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    starts = np.flatnonzero(~continues[kept])
    lengths = np.diff(starts, append=len(kept))
    places = np.arange(len(kept)) - np.repeat(starts, lengths)
    weights = _weights()[places % _LONGEST_WORD]
    sums = np.add.reduceat(points[kept].astype(np.uint64) * weights, starts)
    first = kept[starts]
    return Units(_mixed(sums), text_of[first], is_single[first])


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def ngrams_of(units: Units, length: int) -> Ngrams:
    """Hash all runs of `length` units that are in one text.

    Args:
        units: Units of the texts.
        length: Units per n-gram, from 1 on.
    """
    num = len(units.hashes) - length + 1
    if num <= 0:
        return Ngrams(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    hashes = _mixed(_rolling(units.hashes, length)[:num])
    inside = units.texts[:num] == units.texts[length - 1 :]
    return Ngrams(hashes[inside], units.texts[:num][inside])


def _rolling(values: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """Polynomial hashes of windows of `length` values, by doubling; [n - length + 1]."""
    if length == 1:
        return values
    half = length // 2
    first = _rolling(values, half)
    factor = np.uint64(pow(_UNIT_FACTOR, half, 1 << 64))
    double: NDArray[np.uint64] = first[:-half] + first[half:] * factor
    if length % 2 == 0:
        return double
    last = np.uint64(pow(_UNIT_FACTOR, length - 1, 1 << 64))
    longest: NDArray[np.uint64] = double[:-1] + values[length - 1 :] * last
    return longest


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of hashes (the finalizer of MurmurHash3)."""
    for factor in _MIX:
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(33))
    return mixed


@cache
def _weights() -> NDArray[np.uint64]:
    """Weights of a word's characters by position, uint64 [_LONGEST_WORD]."""
    powers = [pow(_CHARACTER_FACTOR, place, 1 << 64) for place in range(_LONGEST_WORD)]
    return np.array(powers, np.uint64)


@cache
def _kinds() -> NDArray[np.uint8]:
    """Kind of each code point, uint8 [_LAST + 1]."""
    kinds = np.full(_LAST + 1, _SEPARATOR, np.uint8)
    for point in range(_LAST):
        category = unicodedata.category(chr(point))
        if category[0] in "LNM":
            kinds[point] = _WORD
        elif category == "Cf":
            kinds[point] = _IGNORED
    for first, last in _WITHOUT_SPACES:
        part = kinds[first : last + 1]
        part[part == _WORD] = _SINGLE
    return kinds
