"""Drift: rows made minus rows planned, after each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from linly.config.shapes import Floats
from linly.curriculum.apportion import Phase


class RowCounts(NamedTuple):
    """Rows of each source of a phase after each of some rows, float64 [rows, sources].

    Attributes:
        made: Rows made, over the whole run.
        planned: Rows planned: those made before the phase, and the integral of the shares since.
    """

    made: Floats
    planned: Floats

    @property
    def drift(self) -> Floats:
        """Rows made minus rows planned."""
        return self.made - self.planned


def count_rows(
    phase: Phase,
    sources: Sequence[str],
    *,
    first_row: int,
    made: Mapping[str, int],
    made_before_phase: Mapping[str, int],
) -> RowCounts:
    """Count consecutive rows of a phase.

    Args:
        phase: Phase that contains the rows.
        sources: Source of each row.
        first_row: Index of the first row in the run.
        made: Rows of each source before the first row; a missing source has none.
        made_before_phase: Rows of each source before the phase; a missing source has none.
    """
    names = phase.mixture.sources
    column = {name: index for index, name in enumerate(names)}
    one_each = np.zeros((len(sources), len(names)))
    one_each[np.arange(len(sources)), [column[source] for source in sources]] = 1
    ends = np.arange(first_row + 1, first_row + len(sources) + 1)
    integral = phase.mixture.integral(ends) - phase.mixture.integral([phase.from_row])
    return RowCounts(
        made=_in_order(made, names) + one_each.cumsum(axis=0),
        planned=_in_order(made_before_phase, names) + integral,
    )


def _in_order(counts: Mapping[str, int], names: Sequence[str]) -> Floats:
    return np.array([counts.get(name, 0) for name in names], np.float64)
