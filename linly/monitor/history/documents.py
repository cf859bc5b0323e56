"""Documents of the rows of one step, read from the row record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from linly.runs.row_record import read_part
from linly.runs.runs import RunFolder


@dataclass(frozen=True, slots=True)
class DocumentSpan:
    """A span of a row: tokens [start, end) of the document of a record."""

    shard: str
    record: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StepRow:
    """A trained row; `loss` in nats per supervised token, None without any."""

    row: int
    source: str
    epoch: int
    rank: int
    supervised_tokens: int
    padding: int
    loss: float | None
    documents: tuple[DocumentSpan, ...]


@dataclass(frozen=True, slots=True)
class StepRows:
    """Rows of a step.

    Attributes:
        step: Requested step.
        rows: Rows in the order of the global stream; empty if the record does not hold the step.
        last_step: Last step in the record; later ones are written with the next checkpoint.
    """

    step: int
    rows: tuple[StepRow, ...]
    last_step: int


def rows_of_step(path: Path, step: int) -> StepRows:
    """Read a step's rows from the one part of the record that holds it.

    Raises:
        ConfigError: If there is no run at `path`.
    """
    parts = RunFolder.open(path).row_parts()
    last_step = max((last for _, last, _ in parts), default=0)
    for first, last, part in parts:
        if first <= step <= last:
            table = read_part(part, filters=pc.field("step") == step)
            found = sorted(map(_row, table.to_pylist()), key=lambda row: row.row)
            return StepRows(step, tuple(found), last_step)
    return StepRows(step, (), last_step)


def _row(line: dict[str, Any]) -> StepRow:
    documents = tuple(
        DocumentSpan(piece["shard"], piece["record"], piece["start"], piece["end"])
        for piece in line["documents"] or ()
    )
    return StepRow(
        row=line["row"],
        source=line["source"],
        epoch=line["epoch"],
        rank=line["rank"],
        supervised_tokens=line["supervised_tokens"],
        padding=line["padding"],
        loss=line["loss"],
        documents=documents,
    )
