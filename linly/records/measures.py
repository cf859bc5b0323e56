"""Figures that several parts of the package need, each computed here only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


def fill(rows: ArrayLike, padding: ArrayLike, *, row_length: float) -> NDArray[np.float64]:
    """Fraction of the positions of rows that hold a document; NaN without rows.

    Args:
        rows: Numbers of rows.
        padding: Padding positions in these rows, in the same shape.
        row_length: Positions of a row.
    """
    positions = np.asarray(rows, np.float64) * row_length
    empty = np.full(positions.shape, np.nan)
    np.divide(padding, positions, out=empty, where=positions > 0)
    filled: NDArray[np.float64] = 1 - empty
    return filled


def row_length(tokens_seen: float, num_rows: float) -> float:
    """Positions of a row, from the totals of a run; 0 without rows."""
    return tokens_seen / num_rows if num_rows else 0.0


def bits_per_byte(nll: float, size_bytes: int) -> float:
    """Negative log-likelihood in nats as bits, per UTF-8 byte of the text."""
    return nll / math.log(2) / size_bytes


class Measured(Protocol):
    """Bits per byte of a text, and its size."""

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of the text; None if unknown."""

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of the text."""


def joint_bits_per_byte(texts: Sequence[Measured]) -> float | None:
    """Bits per byte of several texts together, weighted by bytes; None if a number is missing."""
    size_bytes = sum(text.size_bytes for text in texts)
    known = [(t.bits_per_byte, t.size_bytes) for t in texts if t.bits_per_byte is not None]
    if not size_bytes or len(known) < len(texts):
        return None
    bits = math.fsum(value * size for value, size in known)
    return bits / size_bytes if math.isfinite(bits) else None


def relative_change(before: float | None, after: float | None) -> float | None:
    """Change relative to the start, such as 0.1 for a rise by 10%; None without both numbers."""
    return after / before - 1 if before and after is not None else None


def largest(values: Mapping[str, float]) -> float | None:
    """Largest absolute value; None without values."""
    return max((abs(value) for value in values.values()), default=None)
