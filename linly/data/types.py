"""What flows through the data path: shard -> record -> document -> tokens -> row.

Values only: every stage takes the type above it and gives the one below it. What there is one of
for each document or row is a named tuple: quick to make, and to send between processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SegmentForm = Literal["text", "continued", "special", "next"]

IGNORE_LABEL = -100
"""Label of a position that carries no loss (the value torch's cross entropy ignores)."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a source, as frozen at the start of a run.

    Attributes:
        path: Relative to the data root, with forward slashes, or a URL (Moses pairs: both
            joined by a tab, in the order of the corpus file's keys).
        size_bytes: On disk, all files of the shard together.
        version: Of a remote shard's content, as its server names it (an ETag); None where
            unknown.
    """

    path: str
    size_bytes: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ShardList:
    """The shards of a source, listed again during the run: `shards` from `from_epoch` on."""

    from_epoch: int
    shards: tuple[Shard, ...]


class RawRecord(NamedTuple):
    """One record of a shard before its template, or why it cannot be parsed.

    Attributes:
        record: Position in its shard, from 0; lines that are blank are counted, not given.
        value: As its format gave it; None when `error` is set.
        error: Why the record cannot be parsed; None when it was.
        size_bytes: About the memory of its text; the same wherever reading began.
        ends_shard: It stands for the rest of a damaged shard: no record comes after it.
    """

    record: int
    value: dict[str, Any] | None
    error: str | None
    size_bytes: int
    ends_shard: bool = False


@dataclass(frozen=True, slots=True)
class Filtered:
    """A good record that is left out on purpose: by `where`, or because it is held out."""

    shard: str
    record: int
    reason: str


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used; it goes to the quarantine ledger, never away in silence.

    Attributes:
        ends_shard: It stands for the rest of a damaged shard, from `record` on.
    """

    source: str
    shard: str
    record: int
    reason: str
    ends_shard: bool = False


class Segment(NamedTuple):
    """A stretch of a document, encoded by itself; `supervised` text carries loss.

    Attributes:
        text: What it says, or the name of a special token.
        supervised: Its tokens carry loss.
        form: `text` begins as a text does (with the dummy prefix of a vocabulary that has one);
            `continued` goes on from the segment before it; `special` names one token; `next` has no
            text: what follows it is another document of the same record.
    """

    text: str
    supervised: bool
    form: SegmentForm = "text"


class Document(NamedTuple):
    """What a template made of a record: segments between one BOS and one EOS.

    A segment of the form `next` ends a document and begins another: a chat may be several.
    """

    shard: str
    record: int
    segments: tuple[Segment, ...]


class EncodedDocument(NamedTuple):
    """The tokens of a record's document or documents, BOS and EOS included.

    Attributes:
        ids: int32 [n].
        supervised: bool [n]; False at BOS, True at EOS when the last segment is supervised.
        starts: Where each document begins, first 0, ascending; most records give one.
    """

    shard: str
    record: int
    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    starts: tuple[int, ...] = (0,)

    @property
    def ends(self) -> tuple[int, ...]:
        """Where each document ends."""
        return (*self.starts[1:], len(self.ids))


class Piece(NamedTuple):
    """Where a stretch of a row comes from: tokens [start, end) of one record's document."""

    shard: str
    record: int
    start: int
    end: int


class Row(NamedTuple):
    """`sequence_length` positions of one source (invariant 1).

    Attributes:
        source: Name in the curriculum.
        epoch: That of the row's first token, from 0.
        ids: int32 [sequence_length].
        labels: int32 [sequence_length]; unshifted, IGNORE_LABEL where there is no loss and at
            every document's first token in this row (also where a document goes on from the
            row before: nothing in this row predicts its first token).
        starts: int32 [len(pieces)]; where each piece begins, first 0, ascending.
        pieces: Provenance of each stretch, in order.
        num_padding: Positions at the end without a document (best-fit and one-document packing).
    """

    source: str
    epoch: int
    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    starts: NDArray[np.int32]
    pieces: tuple[Piece, ...]
    num_padding: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Arrays travel to another process as bytes, three times as quick as numpy's own form."""
        ids, labels, starts = (array.tobytes() for array in (self.ids, self.labels, self.starts))
        form = (self.source, self.epoch, ids, labels, starts, self.pieces, self.num_padding)
        return _row_from_bytes, form

    @property
    def num_supervised(self) -> int:
        """Labels that carry loss."""
        return int(np.count_nonzero(self.labels != IGNORE_LABEL))


def _row_from_bytes(
    source: str,
    epoch: int,
    ids: bytes,
    labels: bytes,
    starts: bytes,
    pieces: tuple[Piece, ...],
    num_padding: int,
) -> Row:
    arrays = [np.frombuffer(data, np.int32) for data in (ids, labels, starts)]
    return Row(source, epoch, arrays[0], arrays[1], arrays[2], pieces, num_padding)
