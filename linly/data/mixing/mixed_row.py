"""A row at its position in the global stream, with everything needed when it is consumed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from linly.data.mixing.documents import SourceCursor
from linly.data.types import BadRecord, Row


@dataclass(frozen=True, slots=True)
class MixedRow:
    """A row at its position in the global stream.

    Attributes:
        index: Index over the whole run, from 0.
        phase_from: First row of its curriculum phase.
        cursor: Position from which its source resumes after it.
        bad: Records to add to the quarantine ledger when this row is consumed.
        digest: `row_digest` of the row.
    """

    index: int
    phase_from: int
    row: Row
    cursor: SourceCursor
    bad: tuple[BadRecord, ...]
    digest: bytes

    def __reduce__(self) -> tuple[type[MixedRow], tuple[object, ...]]:
        """Pickle the fields only: a frozen dataclass is slow to pickle by default."""
        form = (self.index, self.phase_from, self.row, self.cursor, self.bad, self.digest)
        return MixedRow, form


def row_digest(row: Row) -> bytes:
    """Sha256 of ids, labels and document starts as int32 little-endian, in this order."""
    digest = hashlib.sha256(row.ids.astype("<i4", copy=False).tobytes())
    digest.update(row.labels.astype("<i4", copy=False).tobytes())
    digest.update(row.starts.astype("<i4", copy=False).tobytes())
    return digest.digest()
