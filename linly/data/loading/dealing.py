"""Which producer makes the rows of which sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linly.curriculum.apportion import Segment
from linly.curriculum.curves import Floats

NUM_STRETCHES = 64
"""Parts of the rest of a run in each of which the producers should have equal work."""


def deal_sources(
    segments: Sequence[Segment], from_row: int, num_producers: int
) -> list[frozenset[str]]:
    """Deal sources so that no producer has much more to do than another, at any time.

    A source is never shared: its rows come one from another. The heaviest goes first, each to the
    producer whose most loaded stretch is then the least loaded.

    Args:
        segments: Of the run.
        from_row: Where the producers begin.
        num_producers: At most so many, and no more than there are sources with a share.

    Returns:
        Source names by producer, every source of what is left of the run in one of them: a source
        whose share has gone to 0 may still be owed a row.
    """
    planned = _planned_rows(segments, from_row)
    heaviest = sorted(planned, key=lambda name: (-planned[name].max(), name))
    num_busy = sum(bool(rows.max() > 0) for rows in planned.values())
    dealt: list[list[str]] = [[] for _ in range(min(num_producers, num_busy))]
    loads = np.zeros((len(dealt), NUM_STRETCHES))
    for name in heaviest:
        chosen = int(np.argmin((loads + planned[name]).max(axis=1)))
        loads[chosen] += planned[name]
        dealt[chosen].append(name)
    return [frozenset(names) for names in dealt]


def _planned_rows(segments: Sequence[Segment], from_row: int) -> dict[str, Floats]:
    """Rows of each source in each stretch from `from_row` to the end: float64 [NUM_STRETCHES]."""
    num_rows = segments[-1].mixture.num_rows
    ends = [*(segment.from_row for segment in segments[1:]), num_rows]
    bounds = np.linspace(from_row, num_rows, NUM_STRETCHES + 1)
    planned: dict[str, Floats] = {}
    for segment, end in zip(segments, ends, strict=True):
        if end <= from_row:
            continue
        integral = segment.mixture.integral(np.clip(bounds, segment.from_row, end))
        for name, rows in zip(segment.mixture.sources, np.diff(integral, axis=0).T, strict=True):
            planned[name] = planned.get(name, 0.0) + rows
    return planned
