"""What is kept of a trained row: where it came from and what it cost, as a table of the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

ROW_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("world_size", pa.int32(), nullable=False),
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("supervised_tokens", pa.int32(), nullable=False),
        pa.field("padding", pa.int32(), nullable=False),
        pa.field("loss", pa.float32()),
        pa.field(
            "documents",
            pa.list_(
                pa.struct(
                    [
                        pa.field("shard", pa.string()),
                        pa.field("record", pa.int64()),
                        pa.field("start", pa.int32()),
                        pa.field("end", pa.int32()),
                    ]
                )
            ),
        ),
    ]
)


class PieceLike(Protocol):
    """Where a stretch of a row comes from (as linly.data.types.Piece): tokens [start, end)."""

    @property
    def shard(self) -> str:
        """Path of the shard, relative to the data root."""

    @property
    def record(self) -> int:
        """Position of the record in its shard."""

    @property
    def start(self) -> int:
        """First token of the record's document in this row."""

    @property
    def end(self) -> int:
        """One past the last."""


@dataclass(frozen=True, slots=True)
class RowRecord:
    """What is kept of a trained row.

    Attributes:
        row: Its number in the global stream, from 0.
        step: The optimizer step that used it, from 1.
        rank: Of the process that trained on it.
        world_size: Number of processes at that step.
        supervised_tokens: Its targets that carry loss.
        padding: Its positions without a document.
        loss: Mean negative log-likelihood of its supervised targets in nats; None without any, or
            where its step was passed over.
        pieces: Its documents' stretches, in order.
    """

    row: int
    step: int
    rank: int
    world_size: int
    source: str
    epoch: int
    supervised_tokens: int
    padding: int
    loss: float | None
    pieces: Sequence[PieceLike]


def row_table(rows: Sequence[RowRecord]) -> pa.Table:
    """Rows as a table by ROW_SCHEMA, in their order."""
    documents = [
        [
            {"shard": as_utf8(p.shard), "record": p.record, "start": p.start, "end": p.end}
            for p in row.pieces
        ]
        for row in rows
    ]
    columns = {
        name: [getattr(row, name) for row in rows]
        for name in ROW_SCHEMA.names
        if name != "documents"
    }
    return pa.table({**columns, "documents": documents}, schema=ROW_SCHEMA)


def as_utf8(text: str) -> str:
    r"""The same text with lone surrogates, which UTF-8 cannot hold, written as \udcXX."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
