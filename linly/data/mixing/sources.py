"""Stream of rows of one source, resumable at each row."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from linly.config.source import Source
from linly.data.documents.templates import DocumentMaker
from linly.data.mixing.blocks import BlockLimits, BlockReader
from linly.data.mixing.documents import BlockEnd, DocumentStream, Place, SourceCursor
from linly.data.mixing.order import permutation
from linly.data.mixing.packing import Stretch, cut, documents_from, make_row, pack_best_fit
from linly.data.reading.shards import ShardReader
from linly.data.types import BadRecord, EncodedDocument, Row, Shard, ShardList
from linly.errors import DataError
from linly.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Everything that the rows of one source depend on, except the tokenizer.

    Attributes:
        source: Source whose rows to build.
        shards: Shard list frozen when the source joined the run.
        later_lists: Shard lists that replaced it since, by ascending epoch.
        padding_id: Token id of the padding in best-fit and one-document rows.
    """

    source: Source
    shards: tuple[Shard, ...]
    seed: int
    sequence_length: int
    padding_id: int
    max_epochs: float
    on_exhausted: Literal["error", "stop"]
    limits: BlockLimits = BlockLimits()  # noqa: RUF009 (frozen)
    later_lists: tuple[ShardList, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcedRow:
    """A row, the cursor after it, and the bad records before the cursor."""

    row: Row
    cursor: SourceCursor
    bad: tuple[BadRecord, ...]


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Result of a source that has read its `max_epochs` and cannot fill another row.

    Attributes:
        bad: Bad records after the source's last row.
        tokens_left: Tokens left over, too few for a row; 0 if `max_epochs` ends within an epoch.
    """

    source: str
    on_exhausted: Literal["error", "stop"]
    max_epochs: float
    records: int
    tokens_left: int
    bad: tuple[BadRecord, ...]

    def __str__(self) -> str:
        """Text for error messages."""
        return (
            f"source {self.source!r} has read its max_epochs {self.max_epochs:g} "
            f"({self.records} records) and cannot fill another row"
        )


class SourceStream:
    """Rows of a source from a cursor on; `exhausted` is set when it ends."""

    def __init__(
        self,
        spec: SourceSpec,
        tokenizer: Tokenizer,
        cursor: SourceCursor | None = None,
        *,
        reading: Callable[[str], None] = lambda shard: None,
    ) -> None:
        """Start at the beginning or at a cursor; files are opened with the first row.

        Raises:
            ConfigError, DataError: If the source cannot return rows.
        """
        cursor = cursor if cursor is not None else SourceCursor()
        self._spec = spec
        self._documents = _document_stream(spec, tokenizer, cursor, reading)
        self._tokens_left = 0
        self._last = self._cursor = cursor
        pack = {
            "chunk": self._chunked,
            "best-fit": self._best_fit,
            "one-document": self._one_document,
        }
        self._rows = pack[spec.source.corpus.packing](cursor)
        self.exhausted: Exhausted | None = None

    def __iter__(self) -> Iterator[SourcedRow]:
        """The stream itself."""
        return self

    def __next__(self) -> SourcedRow:
        """Return the next row.

        Raises:
            DataError: If a shard is damaged, too many records are bad, or an epoch has no document.
        """
        row = next(self._rows, None)
        if row is not None and not self._is_past(row.row.epoch):
            self._cursor = self._counted(row)
            return SourcedRow(row.row, self._cursor, row.bad)
        if row is not None:
            self._last, self._tokens_left = self._cursor, 0
        self.exhausted = Exhausted(
            source=self._spec.source.name,
            on_exhausted=self._spec.on_exhausted,
            max_epochs=self._spec.max_epochs,
            records=self._last.records,
            tokens_left=self._tokens_left,
            bad=self._documents.take_bad(self._last.records),
        )
        raise StopIteration

    def _rows_begun(self, epoch: int) -> tuple[int | None, int | None]:
        """Rows of `epoch` so far, and of the epoch before; None if not known."""
        cursor = self._cursor
        if epoch == cursor.epoch:
            return cursor.epoch_rows, cursor.rows_per_epoch
        return 0, cursor.epoch_rows or cursor.rows_per_epoch

    def _is_past(self, epoch: int) -> bool:
        """Check whether a row that begins in `epoch` exceeds `max_epochs`.

        Fractions of an epoch are measured in rows, which have equal numbers of tokens, as in a
        plan. Records would not do: the first ones may be shorter.
        """
        part = self._spec.max_epochs - epoch
        begun, per_epoch = self._rows_begun(epoch)
        if part >= 1 or begun is None or per_epoch is None:
            return False
        return begun >= math.ceil(part * per_epoch)

    def _counted(self, row: SourcedRow) -> SourceCursor:
        begun, per_epoch = self._rows_begun(row.row.epoch)
        begun = None if begun is None else begun + 1
        if row.cursor.epoch > row.row.epoch:
            begun, per_epoch = 0, begun
        return row.cursor._replace(epoch_rows=begun, rows_per_epoch=per_epoch)

    def _chunked(self, cursor: SourceCursor) -> Iterator[SourcedRow]:
        """Concatenate and cut; the remainder of a block is joined to the next."""
        length, available, skip = self._spec.sequence_length, 0, cursor.token
        pending: deque[tuple[Place, Stretch]] = deque()
        for item in self._documents:
            if isinstance(item, BlockEnd):
                self._last = item.after
                continue
            place, document = item
            if skip and (place.slot != cursor.slot or skip >= len(document.ids)):
                raise _not_where_it_was(self._spec.source.name, place, document)
            pending.extend((place, stretch) for stretch in documents_from(document, skip))
            available += len(document.ids) - skip
            skip = 0
            while available >= length:
                yield self._chunk(pending)
                available -= length
        self._tokens_left = available

    def _chunk(self, pending: deque[tuple[Place, Stretch]]) -> SourcedRow:
        missing = self._spec.sequence_length
        epoch = pending[0][0].block.epoch
        stretches = []
        while missing > 0:
            place, stretch = pending.popleft()
            stretches.append(stretch)
            missing -= len(stretch)
        is_last = stretch.end == len(stretch.document.ids)
        after = place.past() if is_last else place.at(stretch.end)
        if missing:  # the row ends within the last document
            end = stretch.end + missing
            stretches[-1] = Stretch(stretch.document, stretch.start, end)
            pending.appendleft((place, Stretch(stretch.document, end, stretch.end)))
            after = place.at(end)
        bad = self._documents.take_bad(after.records)
        return SourcedRow(self._row(epoch, stretches), after, bad)

    def _one_document(self, cursor: SourceCursor) -> Iterator[SourcedRow]:
        """Put each document into a row of its own, in order; a longer one is cut into several."""
        skip = cursor.token
        for item in self._documents:
            if isinstance(item, BlockEnd):
                self._last = item.after
                continue
            place, document = item
            if skip and (place.slot != cursor.slot or skip >= len(document.ids)):
                raise _not_where_it_was(self._spec.source.name, place, document)
            for stretch in cut(document, self._spec.sequence_length):
                if stretch.start < skip:
                    continue
                is_last = stretch.end == len(document.ids)
                after = place.past() if is_last else place.at(stretch.end)
                bad = self._documents.take_bad(after.records)
                yield SourcedRow(self._row(place.block.epoch, [stretch]), after, bad)
            skip = 0

    def _best_fit(self, cursor: SourceCursor) -> Iterator[SourcedRow]:
        """Pack each block separately; its rows are permuted, so that short rows are spread."""
        spec, before, first = self._spec, cursor, cursor.packed_row
        documents: list[EncodedDocument] = []
        for item in self._documents:
            if not isinstance(item, BlockEnd):
                documents.append(item[1])
                continue
            block, after = item.block, item.after
            rows = pack_best_fit(documents, spec.sequence_length)
            documents = []
            order = permutation(
                len(rows), spec.seed, spec.source.name, "rows", block.epoch, block.epoch_records
            )
            if first:  # they were returned with the block's first row
                self._documents.take_bad(after.records)
            for index in range(first, len(rows)):
                done = index + 1 == len(rows)
                cursor = (
                    after
                    if done
                    else SourceCursor(block, 0, 0, index + 1, before.bad, before.filtered)
                )
                row = self._row(block.epoch, rows[order[index]])
                yield SourcedRow(row, cursor, self._documents.take_bad(after.records))
            before, first = after, 0
            self._last = after

    def _row(self, epoch: int, stretches: list[Stretch]) -> Row:
        return make_row(
            self._spec.source.name,
            epoch,
            stretches,
            sequence_length=self._spec.sequence_length,
            padding_id=self._spec.padding_id,
        )


def _document_stream(
    spec: SourceSpec, tokenizer: Tokenizer, cursor: SourceCursor, reading: Callable[[str], None]
) -> DocumentStream:
    blocks = BlockReader(
        source=spec.source.name,
        seed=spec.seed,
        shards=spec.shards,
        later_lists=spec.later_lists,
        open_shard=ShardReader(spec.source.corpus, spec.source.data_root).read,
        start=cursor.block,
        max_epochs=spec.max_epochs,
        limits=spec.limits,
        reading=reading,
    )
    return DocumentStream(
        source=spec.source.name,
        blocks=blocks,
        maker=DocumentMaker(spec.source),
        tokenizer=tokenizer,
        cursor=cursor,
        max_bad_fraction=spec.source.corpus.max_bad_fraction,
    )


def _not_where_it_was(source: str, place: Place, document: EncodedDocument) -> DataError:
    return DataError(
        f"source {source!r}: the state is within a document that no longer exists: slot "
        f"{place.slot} is {document.shard}, record {document.record}, of {len(document.ids)} "
        f"tokens; the shard has changed since the state was saved"
    )
