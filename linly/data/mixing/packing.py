"""Documents to rows: concatenate-and-chunk, best-fit with padding, or one document per row.

    documents --PACKERS--> PackedRow, then Leftover --make_row--> Row

A packer chooses the spans of each row; `make_row` concatenates them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from linly.config.sections.data_section import Packing
from linly.data.cursor import DocumentPosition, SourceCursor
from linly.data.mixing.document_stream import BlockEnd, DocumentItem, Place
from linly.data.mixing.order import permutation
from linly.data.mixing.source_spec import SourceSpec
from linly.data.types import IGNORE_LABEL, BadRecord, EncodedDocument, Row
from linly.errors import DataError
from linly.records.span import Span


@dataclass(frozen=True, slots=True)
class EncodedSpan:
    """Tokens [start, end) of a document."""

    document: EncodedDocument
    start: int
    end: int

    def __len__(self) -> int:
        """Tokens."""
        return self.end - self.start


class PackedRow(NamedTuple):
    """Spans that form a row.

    Attributes:
        epoch: Epoch of the first token.
        spans: Spans, at most `sequence_length` tokens together.
        after: Position after the last token.
        bad: Bad records that no row before it has reported.
    """

    epoch: int
    spans: Sequence[EncodedSpan]
    after: DocumentPosition
    bad: tuple[BadRecord, ...]


class Leftover(NamedTuple):
    """What remains after the last row.

    Attributes:
        after: End of the documents.
        tokens: Tokens too few for a row.
        bad: Bad records that no row has reported.
    """

    after: DocumentPosition
    tokens: int
    bad: tuple[BadRecord, ...]


Packer = Callable[
    [SourceSpec, Iterable[DocumentItem], DocumentPosition], Iterator[PackedRow | Leftover]
]
"""Packs the documents of a source from a position on; the last item is the only `Leftover`."""


def chunk(
    spec: SourceSpec, documents: Iterable[DocumentItem], start: DocumentPosition
) -> Iterator[PackedRow | Leftover]:
    """Concatenate and cut; the remainder of a block is joined to the next."""
    available, skip, after = 0, start.token, start
    pending: deque[tuple[Place, EncodedSpan]] = deque()
    bad: tuple[BadRecord, ...] = ()
    for item in documents:
        if isinstance(item, BlockEnd):
            after = item.after
            bad += item.bad
            continue
        place, document = item
        bad += place.bad
        if skip:
            _check_start(spec, start, skip, item)
        pending.extend((place, span) for span in spans_from(document, skip))
        available += len(document.ids) - skip
        skip = 0
        while available >= spec.sequence_length:
            yield _first_chunk(pending, spec.sequence_length, bad)
            available -= spec.sequence_length
            bad = ()
    yield Leftover(after, available, bad)


def _first_chunk(
    pending: deque[tuple[Place, EncodedSpan]], length: int, bad: tuple[BadRecord, ...]
) -> PackedRow:
    """Take the first `length` tokens of `pending`."""
    missing = length
    epoch = pending[0][0].block.epoch
    spans = []
    while missing > 0:
        place, span = pending.popleft()
        spans.append(span)
        missing -= len(span)
    is_last = span.end == len(span.document.ids)
    after = place.past() if is_last else place.at(span.end)
    if missing:  # the row ends within the last document
        end = span.end + missing
        spans[-1] = EncodedSpan(span.document, span.start, end)
        pending.appendleft((place, EncodedSpan(span.document, end, span.end)))
        after = place.at(end)
    return PackedRow(epoch, spans, after, bad)


def one_document(
    spec: SourceSpec, documents: Iterable[DocumentItem], start: DocumentPosition
) -> Iterator[PackedRow | Leftover]:
    """Put each document into a row of its own, in order; a longer one is cut into several."""
    skip, after = start.token, start
    bad: tuple[BadRecord, ...] = ()
    for item in documents:
        if isinstance(item, BlockEnd):
            after = item.after
            bad += item.bad
            continue
        place, document = item
        bad += place.bad
        if skip:
            _check_start(spec, start, skip, item)
        for span in cut(document, spec.sequence_length):
            if span.start < skip:
                continue
            is_last = span.end == len(document.ids)
            position = place.past() if is_last else place.at(span.end)
            yield PackedRow(place.block.epoch, [span], position, bad)
            bad = ()
        skip = 0
    yield Leftover(after, 0, bad)


def best_fit(
    spec: SourceSpec, documents: Iterable[DocumentItem], start: DocumentPosition
) -> Iterator[PackedRow | Leftover]:
    """Pack each block separately; its rows are permuted, so that short rows are spread."""
    before, first = start, start.packed_row
    encoded: list[EncodedDocument] = []
    bad: tuple[BadRecord, ...] = ()
    for item in documents:
        if not isinstance(item, BlockEnd):
            place, document = item
            encoded.append(document)
            bad += place.bad
            continue
        block, bad = item.block, bad + item.bad
        rows = pack_best_fit(encoded, spec.sequence_length)
        encoded = []
        order = permutation(
            len(rows), spec.seed, spec.name, "rows", block.epoch, block.epoch_records
        )
        if first:  # they were reported with the block's first row
            bad = ()
        for index in range(first, len(rows)):
            after = DocumentPosition(block, 0, 0, index + 1, before.num_bad, before.num_filtered)
            if index + 1 == len(rows):
                after = item.after
            yield PackedRow(block.epoch, rows[order[index]], after, bad)
            bad = ()
        before, first = item.after, 0
    yield Leftover(before, 0, bad)


PACKERS: Mapping[Packing, Packer] = {
    "chunk": chunk,
    "best-fit": best_fit,
    "one-document": one_document,
}


def make_row(
    packed: PackedRow,
    cursor: SourceCursor,
    *,
    source: str,
    sequence_length: int,
    padding_id: int,
) -> Row:
    """Concatenate spans into a row and pad the rest.

    Args:
        packed: Spans of the row.
        cursor: Cursor after the row.
        source: Name of the source.
        sequence_length: Positions of the row.
        padding_id: Token id of the padding.
    """
    spans = packed.spans
    ends = list(accumulate(map(len, spans)))
    starts = np.array([0, *ends[:-1]], np.int32)
    ids = np.empty(sequence_length, np.int32)
    ids[ends[-1] :] = padding_id
    np.concatenate([s.document.ids[s.start : s.end] for s in spans], out=ids[: ends[-1]])
    supervised = np.zeros(sequence_length, np.bool_)
    np.concatenate(
        [s.document.supervised[s.start : s.end] for s in spans], out=supervised[: ends[-1]]
    )
    supervised[starts] = False
    labels = ids.copy()
    labels[~supervised] = IGNORE_LABEL
    return Row(
        source=source,
        epoch=packed.epoch,
        ids=ids,
        labels=labels,
        starts=starts,
        spans=tuple(Span(s.document.shard, s.document.record, s.start, s.end) for s in spans),
        num_padding=sequence_length - ends[-1],
        cursor=cursor,
        bad=packed.bad,
    )


def cut(document: EncodedDocument, sequence_length: int) -> list[EncodedSpan]:
    """Cut a record's documents into spans of a row's length; the last of each may be shorter."""
    return [
        EncodedSpan(document, start, min(start + sequence_length, end))
        for begin, end in zip(document.starts, document.ends, strict=True)
        for start in range(begin, end, sequence_length)
    ]


def spans_from(document: EncodedDocument, token: int) -> list[EncodedSpan]:
    """A record's documents, or their remainder from a token on."""
    return [
        EncodedSpan(document, max(begin, token), end)
        for begin, end in zip(document.starts, document.ends, strict=True)
        if end > token
    ]


def pack_best_fit(
    documents: Sequence[EncodedDocument], sequence_length: int
) -> list[list[EncodedSpan]]:
    """Put every token of the documents into rows, each span into the fullest row that fits it.

    Best-fit decreasing (Ding et al. 2024, arXiv 2404.10830): only documents longer than a row are
    cut. Spans of a row keep the order of their documents.
    """
    spans = [span for document in documents for span in cut(document, sequence_length)]
    by_length = sorted(range(len(spans)), key=lambda index: -len(spans[index]))
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (positions left, row), ascending
    for index in by_length:
        length = len(spans[index])
        fits = bisect_left(room, (length, -1))
        if fits < len(room):
            left, row = room.pop(fits)
        else:
            left, row = sequence_length, len(rows)
            rows.append([])
        rows[row].append(index)
        if left > length:
            insort(room, (left - length, row))
    return [[spans[index] for index in sorted(row)] for row in rows]


def _check_start(
    spec: SourceSpec, start: DocumentPosition, skip: int, found: tuple[Place, EncodedDocument]
) -> None:
    """Refuse to skip tokens of another document than the one at `start`."""
    place, document = found
    if place.slot != start.slot or skip >= len(document.ids):
        raise DataError(
            f"source {spec.name!r}: the state is within a document that no longer exists: slot "
            f"{place.slot} is {document.shard}, record {document.record}, of {len(document.ids)} "
            f"tokens; the shard has changed since the state was saved"
        )
