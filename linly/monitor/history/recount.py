"""Recount of the row record, and its differences from the logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from linly.monitor.history.history import History
from linly.monitor.history.step_columns import Integers
from linly.runs.runs import RunFolder

COUNTERS = ("rows", "supervised tokens", "padding")
Counts = tuple[int, int, int]
"""A value for each of COUNTERS."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter of the log that the row record contradicts."""

    step: int
    source: str
    counter: str
    logged: int
    recounted: int


@dataclass(frozen=True, slots=True)
class Recount:
    """Result of a recount of the row record.

    Attributes:
        num_rows: Rows in the record.
        last_step: Last step that the record holds; later ones are not written yet.
        differences: Counters that the row record contradicts; empty if the logs are right.
        missing_rows: Rows of the global stream that the record lacks.
        repeated_rows: Rows that it holds twice.
    """

    num_rows: int
    last_step: int
    differences: tuple[Difference, ...]
    missing_rows: int
    repeated_rows: int

    @property
    def agrees(self) -> bool:
        """Whether the record is complete and every counter of every step agrees with it."""
        return not self.differences and not self.missing_rows and not self.repeated_rows


def recount(history: History) -> Recount:
    """Count rows, supervised tokens and padding per source and step from rows/*.parquet."""
    added: dict[int, dict[str, Counts]] = {}
    seen: list[Integers] = [np.zeros(0, np.int64)]
    columns = ("row", "step", "source", "supervised_tokens", "padding")
    for table in RunFolder.open(history.path).read_rows(columns):
        seen.append(table["row"].to_numpy().astype(np.int64))
        sums = table.group_by(["step", "source"]).aggregate(
            [("row", "count"), ("supervised_tokens", "sum"), ("padding", "sum")]
        )
        for line in sums.to_pylist():
            in_step = added.setdefault(line["step"], {})
            in_step[line["source"]] = (
                line["row_count"],
                line["supervised_tokens_sum"],
                line["padding_sum"],
            )
    rows = np.unique(np.concatenate(seen))
    num_rows = sum(len(part) for part in seen)
    return Recount(
        num_rows=num_rows,
        last_step=max(added, default=0),
        differences=tuple(_differences(history, added)),
        missing_rows=int(rows[-1]) + 1 - len(rows) if len(rows) else 0,
        repeated_rows=num_rows - len(rows),
    )


def _differences(
    history: History, added: Mapping[int, Mapping[str, Counts]]
) -> Iterator[Difference]:
    """Compare the counters of every step in the log or the row record."""
    index_of = {int(step): index for index, step in enumerate(history.step)}
    names = sorted({name for in_step in added.values() for name in in_step} | set(history.sources))
    column = {name: index for index, name in enumerate(history.sources)}
    logs = (history.rows, history.supervised_tokens, history.padding)
    counted = {name: (0, 0, 0) for name in names}
    for step in range(1, max(added, default=0) + 1):
        for name, more in added.get(step, {}).items():
            rows, supervised, padding = counted[name]
            counted[name] = (rows + more[0], supervised + more[1], padding + more[2])
        for name in names:
            logged = (0, 0, 0)
            if step in index_of and name in column:
                at = (index_of[step], column[name])
                logged = (int(logs[0][at]), int(logs[1][at]), int(logs[2][at]))
            for counter, ours, theirs in zip(COUNTERS, logged, counted[name], strict=True):
                if ours != theirs:
                    yield Difference(step, name, counter, ours, theirs)


def recount_text(recounted: Recount) -> str:
    """One sentence on the result, with the first difference."""
    rows = f"{recounted.num_rows:,} rows up to step {recounted.last_step:,}"
    if recounted.num_rows == 0:
        return "The row record is empty: nothing could be counted again."
    if recounted.agrees:
        return f"Counted again from the row record: {rows}; every counter agrees."
    faults = []
    if recounted.missing_rows:
        faults.append(f"{recounted.missing_rows:,} rows are missing")
    if recounted.repeated_rows:
        faults.append(f"{recounted.repeated_rows:,} rows are there twice")
    if recounted.differences:
        first = recounted.differences[0]
        faults.append(
            f"{len(recounted.differences):,} counters differ, the first at step {first.step}: "
            f"{first.source}: {first.counter}: logged {first.logged:,}, counted {first.recounted:,}"
        )
    return f"Counted again from the row record: {rows}; {'; '.join(faults)}."
