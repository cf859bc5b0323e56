"""The per-row record: origin and loss of each trained row, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from linly.errors import LinlyError, TrainingError
from linly.files import open_regular
from linly.records.span import Span

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


@dataclass(frozen=True, slots=True)
class RowRecord:
    """The record of one row.

    Attributes:
        row: Index in the global stream, from 0.
        step: Step that consumed the row, from 1.
        rank: Rank that trained on the row.
        world_size: Number of processes at that step.
        supervised_tokens: Number of its targets that carry loss.
        padding: Number of its padding positions.
        loss: Mean negative log-likelihood of its supervised targets in nats; None if it has none,
            or if a fork skipped its step.
        documents: Spans of its documents, in order.
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
    documents: tuple[Span, ...]


def row_table(rows: Sequence[RowRecord]) -> pa.Table:
    """Rows as a table with ROW_SCHEMA, in order."""
    documents = [
        [span._replace(shard=as_utf8(span.shard))._asdict() for span in row.documents]
        for row in rows
    ]
    columns = {
        name: [getattr(row, name) for row in rows]
        for name in ROW_SCHEMA.names
        if name != "documents"
    }
    return pa.table({**columns, "documents": documents}, schema=ROW_SCHEMA)


def rows_of_table(table: pa.Table) -> list[RowRecord]:
    """Rows of a table with ROW_SCHEMA, in order."""
    return [
        RowRecord(**line | {"documents": tuple(Span(**span) for span in line["documents"] or ())})
        for line in table.to_pylist()
    ]


def as_utf8(text: str) -> str:
    r"""The same text with lone surrogates, which UTF-8 cannot hold, written as \udcXX."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_part(
    path: Path, columns: Sequence[str] = ROW_SCHEMA.names, *, filters: Any = None
) -> pa.Table:
    """Read a part of the row record.

    Args:
        path: Parquet file.
        columns: Names of the columns to read.
        filters: Filter expression of pyarrow.

    Raises:
        TrainingError: If the file is damaged, or is not a part of a row record.
    """
    try:
        open_regular(path).close()
        table = pq.read_table(path, columns=list(columns), filters=filters)
        for name in columns:
            if table.schema.field(name).type != ROW_SCHEMA.field(name).type:
                raise TypeError(f"column {name} holds {table.schema.field(name).type}")
            if not ROW_SCHEMA.field(name).nullable and table[name].null_count:
                raise TypeError(f"column {name} holds nulls")
    except (pa.ArrowException, OSError, LinlyError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path}: this part of the row record is damaged: {error}; restore it from a backup, "
            "or remove it to read the rest"
        ) from error
    return table
