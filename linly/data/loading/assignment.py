"""Assigns sources to producers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linly.config.shapes import Floats
from linly.curriculum.apportion import Phase

NUM_INTERVALS = 64
"""Parts of the remaining run over which the load of the producers is balanced."""


def assign_sources(
    phases: Sequence[Phase], from_row: int, num_producers: int
) -> list[frozenset[str]]:
    """Distribute sources so that the load of the producers is balanced throughout the run.

    A source is never split, since each of its rows depends on the one before. Sources are assigned
    by decreasing load, each to the producer whose peak load then stays lowest.

    Args:
        phases: Phases of the run.
        from_row: Row at which the producers start.
        num_producers: Upper limit; there are also at most as many as sources with a share.

    Returns:
        Source names by producer; together they contain every source of the remaining run, since
        a source whose share has dropped to 0 may still be owed a row.
    """
    planned = _planned_rows(phases, from_row)
    heaviest = sorted(planned, key=lambda name: (-planned[name].max(), name))
    num_busy = sum(bool(rows.max() > 0) for rows in planned.values())
    assigned: list[list[str]] = [[] for _ in range(min(num_producers, num_busy))]
    loads = np.zeros((len(assigned), NUM_INTERVALS))
    for name in heaviest:
        chosen = int(np.argmin((loads + planned[name]).max(axis=1)))
        loads[chosen] += planned[name]
        assigned[chosen].append(name)
    return [frozenset(names) for names in assigned]


def _planned_rows(phases: Sequence[Phase], from_row: int) -> dict[str, Floats]:
    """Rows of each source in each interval from `from_row` to the end: float64 [NUM_INTERVALS]."""
    num_rows = phases[-1].mixture.num_rows
    ends = [*(phase.from_row for phase in phases[1:]), num_rows]
    bounds = np.linspace(from_row, num_rows, NUM_INTERVALS + 1)
    planned: dict[str, Floats] = {}
    for phase, end in zip(phases, ends, strict=True):
        if end <= from_row:
            continue
        integral = phase.mixture.integral(np.clip(bounds, phase.from_row, end))
        for name, rows in zip(phase.mixture.sources, np.diff(integral, axis=0).T, strict=True):
            planned[name] = planned.get(name, 0.0) + rows
    return planned
