"""A row at its position in the global stream."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from linly.data.types import Row


@dataclass(frozen=True, slots=True)
class MixedRow:
    """A row at its position in the global stream.

    Attributes:
        index: Index over the whole run, from 0.
        phase_from: First row of its curriculum phase.
        digest: `row_digest` of the row.
    """

    index: int
    phase_from: int
    row: Row
    digest: bytes

    def __reduce__(self) -> tuple[type[MixedRow], tuple[object, ...]]:
        """Pickle the fields only: a frozen dataclass is slow to pickle by default."""
        return MixedRow, (self.index, self.phase_from, self.row, self.digest)


def row_digest(row: Row) -> bytes:
    """Sha256 of ids, labels and document starts as int32 little-endian, in this order."""
    digest = hashlib.sha256(row.ids.astype("<i4", copy=False).tobytes())
    digest.update(row.labels.astype("<i4", copy=False).tobytes())
    digest.update(row.starts.astype("<i4", copy=False).tobytes())
    return digest.digest()
