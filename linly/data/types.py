"""Types of the data path: shard -> record -> document -> tokens -> row.

Values only: every stage maps the type above to the one below. Types with one instance per document
or row are named tuples: fast to create, and to send between processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linly.data.cursor import SourceCursor
from linly.records.span import Span

SegmentForm = Literal["text", "continued", "special", "next"]

IGNORE_LABEL = -100
"""Label of a position that carries no loss (the value torch's cross entropy ignores)."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a source, pinned at the start of a run.

    Attributes:
        path: Path relative to the data root, with forward slashes, or a URL (Moses pairs: both
            joined by a tab, in the order of the corpus file's keys).
        size_bytes: Size on disk, all files of the shard together.
        version: Version of a remote shard's content, as its server names it (an ETag); None if
            unknown.
    """

    path: str
    size_bytes: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ShardList:
    """Shards of a source, listed again during the run; `shards` holds from `from_epoch` on."""

    from_epoch: int
    shards: tuple[Shard, ...]


class RawRecord(NamedTuple):
    """One record of a shard before its template, or the reason why it cannot be parsed.

    Attributes:
        record: Position in its shard, from 0; blank lines are counted but not returned.
        value: Value as parsed by its format; None if `error` is set.
        error: Reason why the record cannot be parsed; None if it was parsed.
        size_bytes: Approximate memory of its text; the same wherever reading began.
        ends_shard: Whether it represents the rest of a damaged shard; no record follows it.
    """

    record: int
    value: dict[str, Any] | None
    error: str | None
    size_bytes: int
    ends_shard: bool = False


@dataclass(frozen=True, slots=True)
class Filtered:
    """A good record that is left out on purpose: filtered by `where`, or held out."""

    shard: str
    record: int
    reason: str


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used; it is recorded in the quarantine ledger.

    Attributes:
        ends_shard: Whether it represents the rest of a damaged shard, from `record` on.
    """

    source: str
    shard: str
    record: int
    reason: str
    ends_shard: bool = False


class Segment(NamedTuple):
    """Part of a document, encoded separately; `supervised` text carries loss.

    Attributes:
        text: Text, or the name of a special token.
        supervised: Whether its tokens carry loss.
        form: `text` is encoded like the start of a text (with the dummy prefix of a vocabulary that
            has one); `continued` continues the segment before it; `special` names one token;
            `next` has no text: the segments after it form another document of the same record.
    """

    text: str
    supervised: bool
    form: SegmentForm = "text"


class Document(NamedTuple):
    """Output of a template for one record: segments between one BOS and one EOS.

    A segment of the form `next` separates two documents: a chat may be several.
    """

    shard: str
    record: int
    segments: tuple[Segment, ...]


class EncodedDocument(NamedTuple):
    """Tokens of a record's document or documents, including BOS and EOS.

    Attributes:
        ids: Token ids, int32 [n].
        supervised: Loss mask, bool [n]; False at BOS, True at EOS after a supervised segment.
        starts: Start of each document, first 0, ascending; most records give one document.
    """

    shard: str
    record: int
    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    starts: tuple[int, ...] = (0,)

    @property
    def ends(self) -> tuple[int, ...]:
        """End of each document."""
        return (*self.starts[1:], len(self.ids))


class Row(NamedTuple):
    """`sequence_length` positions of one source (invariant 1).

    Attributes:
        source: Name in the curriculum.
        epoch: Epoch of the row's first token, from 0.
        ids: Token ids, int32 [sequence_length].
        labels: int32 [sequence_length]; unshifted, IGNORE_LABEL where there is no loss and at every
            document's first token in this row. This also holds for a document that continues from
            the row before, since no token of this row predicts its first token.
        starts: Start of each span, int32 [len(spans)]; first 0, ascending.
        spans: Origin of the tokens, in order.
        num_padding: Positions at the end without a document (best-fit and one-document packing).
        cursor: Position from which its source resumes after it.
        bad: Records to add to the quarantine ledger when this row is consumed.
    """

    source: str
    epoch: int
    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    starts: NDArray[np.int32]
    spans: tuple[Span, ...]
    num_padding: int
    cursor: SourceCursor
    bad: tuple[BadRecord, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle arrays as bytes, three times faster than numpy's own form."""
        ids, labels, starts = (array.tobytes() for array in (self.ids, self.labels, self.starts))
        return _row_from_bytes, (self.source, self.epoch, ids, labels, starts, *self[5:])

    @property
    def num_supervised(self) -> int:
        """Number of labels that carry loss."""
        return int(np.count_nonzero(self.labels != IGNORE_LABEL))


def _row_from_bytes(
    source: str,
    epoch: int,
    ids: bytes,
    labels: bytes,
    starts: bytes,
    *rest: Any,
) -> Row:
    arrays = [np.frombuffer(data, np.int32) for data in (ids, labels, starts)]
    return Row(source, epoch, arrays[0], arrays[1], arrays[2], *rest)
