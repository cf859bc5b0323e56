"""Stream of rows of one source, resumable at each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from linly.data.cursor import SourceCursor
from linly.data.mixing.document_stream import DocumentStream
from linly.data.mixing.packing import PACKERS, Leftover, PackedRow, make_row
from linly.data.mixing.source_spec import SourceSpec
from linly.data.types import BadRecord, Row
from linly.tokenization.tokenizer import Tokenizer


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
        self._spec = spec
        self._cursor = cursor if cursor is not None else SourceCursor()
        start = self._cursor.position
        documents = DocumentStream(spec, tokenizer, start, reading=reading)
        self._packed = PACKERS[spec.source.corpus.packing](spec, documents, start)
        self.exhausted: Exhausted | None = None

    def __iter__(self) -> Iterator[Row]:
        """The stream itself."""
        return self

    def __next__(self) -> Row:
        """Return the next row.

        Raises:
            DataError: If a shard is damaged, too many records are bad, or an epoch has no document.
        """
        if self.exhausted is not None:
            raise StopIteration
        packed = next(self._packed)
        if isinstance(packed, PackedRow):
            if not self._is_past(packed.epoch):
                self._cursor = self._cursor_after(packed)
                return make_row(
                    packed,
                    self._cursor,
                    source=self._spec.name,
                    sequence_length=self._spec.sequence_length,
                    padding_id=self._spec.padding_id,
                )
            packed = Leftover(self._cursor.position, 0, ())
        self.exhausted = Exhausted(
            source=self._spec.name,
            on_exhausted=self._spec.on_exhausted,
            max_epochs=self._spec.max_epochs,
            records=packed.after.num_records,
            tokens_left=packed.tokens,
            bad=packed.bad,
        )
        raise StopIteration

    def _rows_begun(self, epoch: int) -> tuple[int | None, int | None]:
        """Rows of `epoch` so far, and of the epoch before; None if not known."""
        cursor = self._cursor
        if epoch == cursor.position.epoch:
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

    def _cursor_after(self, packed: PackedRow) -> SourceCursor:
        begun, per_epoch = self._rows_begun(packed.epoch)
        begun = None if begun is None else begun + 1
        if packed.after.epoch > packed.epoch:
            begun, per_epoch = 0, begun
        return SourceCursor(packed.after, begun, per_epoch)
