"""Documents of the rows of one step, read from the row record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from linly.records.row_record import RowRecord, read_part, rows_of_table
from linly.runs.runs import RunFolder


@dataclass(frozen=True, slots=True)
class StepRows:
    """Rows of a step.

    Attributes:
        step: Requested step.
        rows: Rows in the order of the global stream; empty if the record does not hold the step.
        last_step: Last step in the record; later ones are written with the next checkpoint.
    """

    step: int
    rows: tuple[RowRecord, ...]
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
            found = sorted(rows_of_table(table), key=lambda row: row.row)
            return StepRows(step, tuple(found), last_step)
    return StepRows(step, (), last_step)
