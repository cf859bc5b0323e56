"""A hash table from words to their ids, in arrays: thousands of words take a few operations.

A dictionary looks up one word at a time and waits for memory each time. Here the waits of all words
overlap, and no objects are created.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 24
"""Largest length of a word in bytes; with the place of its ids it fills half a CPU cache line."""

_FEWEST_SLOTS = 1 << 12
_COUNT_BITS = np.uint64(32)
_COUNT_MASK = np.uint64(0xFFFFFFFF)
_PLACE = 3
# Odd numbers with bits set throughout: the high bits of a product depend on all bits of a key.
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
_MASKS = np.array(
    [list(b"\xff" * n + bytes(KEY_BYTES - n)) for n in range(KEY_BYTES + 1)], np.uint8
).view(np.uint64)
"""Length of a word -> mask of the bytes from its start on that belong to it."""


def keys_at(
    data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Keys of the words in a text: uint64 [n, 3], their bytes padded with zeros.

    Args:
        data: A text, followed by `KEY_BYTES` arbitrary bytes.
        starts: Offsets of the words, int64 [n].
        lengths: Lengths in bytes, at most `KEY_BYTES`, int64 [n].
    """
    windows: NDArray[np.void] = np.ndarray(
        (len(data) - KEY_BYTES + 1,), f"V{KEY_BYTES}", data, strides=(1,)
    )
    keys = windows[starts].view(np.uint64).reshape(-1, 3)
    keys &= _MASKS.take(lengths, axis=0)
    return keys


def distinct(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Index of one key of each group of equal ones, in any order: int64 [m]."""
    order = np.lexsort(keys.T)
    ordered = keys[order]
    first = np.ones(len(keys), np.bool_)
    first[1:] = _differ(ordered[1:], ordered[:-1])
    found: NDArray[np.int64] = order[first]
    return found


class WordTable:
    """Words of at most `KEY_BYTES` bytes, none of them NUL, and the ids of each.

    A *place* locates the ids of a word; 0 means that the word is absent.
    """

    def __init__(self) -> None:
        """Create an empty table."""
        self.clear()

    def __len__(self) -> int:
        """Number of words."""
        return self._num_words

    def clear(self) -> None:
        """Remove all words; earlier places become invalid."""
        # One row per slot: three parts of the key, and the place.
        self._rows = np.zeros((_FEWEST_SLOTS, 4), np.uint64)
        self._num_words = 0
        self._ids = np.empty(_FEWEST_SLOTS, np.int32)
        self._num_ids = 0

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Places of words, given keys from `keys_at`: uint64 [n]."""
        slots = self._home(keys)
        found, is_other = self._look(slots, keys)
        places: NDArray[np.uint64] = np.where(is_other, np.uint64(0), found)
        (left,) = np.nonzero(is_other & (found != 0))
        slots = slots[left]
        while len(left):  # try the next slot until it is the word's or free
            slots = (slots + 1) & (len(self._rows) - 1)
            found, is_other = self._look(slots, keys[left])
            places[left[~is_other]] = found[~is_other]
            on = is_other & (found != 0)
            left, slots = left[on], slots[on]
        return places

    def add(
        self, keys: NDArray[np.uint64], ids: NDArray[np.int32], counts: NDArray[np.int64]
    ) -> None:
        """Add distinct words that are absent.

        Args:
            keys: Keys from `keys_at`, uint64 [n, 3].
            ids: Concatenated ids of all words, int32.
            counts: Number of ids of each word, at least 1, int64 [n].
        """
        self._num_words += len(keys)
        if 2 * self._num_words > len(self._rows):
            self._grow()
        self._insert(np.column_stack([keys, self.hold(ids, counts)]))
        self._num_ids += len(ids)

    def hold(self, ids: NDArray[np.int32], counts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Store ids without a word until the next `add` or `hold`; return places: uint64 [n]."""
        end = self._num_ids + len(ids)
        if end > len(self._ids):
            self._ids = np.concatenate([self._ids, np.empty(end, np.int32)])
        self._ids[self._num_ids : end] = ids
        firsts = (counts.cumsum() - counts + self._num_ids).astype(np.uint64)
        firsts <<= _COUNT_BITS
        firsts |= counts.astype(np.uint64)
        return firsts

    def ids_at(self, places: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Concatenated ids of words, int32, and the number of ids of each, int64 [n]."""
        counts = (places & _COUNT_MASK).view(np.int64)
        firsts = (places >> _COUNT_BITS).view(np.int64)
        indices = np.repeat(firsts - counts.cumsum() + counts, counts)
        indices += np.arange(len(indices))
        return self._ids.take(indices), counts

    def _home(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Slot at which the search for a word begins."""
        mixed = keys[:, 0] * _FACTORS[0]
        mixed ^= keys[:, 1] * _FACTORS[1]
        mixed ^= keys[:, 2] * _FACTORS[2]
        mixed >>= np.uint64(65 - len(self._rows).bit_length())
        slots: NDArray[np.int64] = mixed.view(np.int64)
        return slots

    def _look(
        self, slots: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Places in slots, and whether a slot is not the key's (but free, or another word's)."""
        rows = self._rows.take(slots, axis=0)
        return rows[:, _PLACE], _differ(rows, keys)

    def _grow(self) -> None:
        rows = self._rows[self._rows[:, _PLACE] != 0]
        num_slots = len(self._rows)
        while num_slots < 2 * self._num_words:
            num_slots *= 2
        self._rows = np.zeros((num_slots, 4), np.uint64)
        self._insert(rows)

    def _insert(self, rows: NDArray[np.uint64]) -> None:
        slots = self._home(rows)
        while len(rows):
            free = self._rows[slots, _PLACE] == 0
            self._rows[slots[free]] = rows[free]  # one of several rows for the same slot stays
            over = self._rows[slots, _PLACE] != rows[:, _PLACE]
            rows, slots = rows[over], (slots[over] + 1) & (len(self._rows) - 1)


def _differ(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mask of the keys that differ; each row begins with a key."""
    differ: NDArray[np.bool_] = some[:, 0] != others[:, 0]
    differ |= some[:, 1] != others[:, 1]
    differ |= some[:, 2] != others[:, 2]
    return differ
