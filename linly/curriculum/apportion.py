"""The source of each row of a run: exact apportionment, no sampling (see `deadlines`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from linly.curriculum.deadlines import PhaseSchedule
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Phase:
    """Part of a run under one curriculum; the run's first phase has `from_row` 0.

    Rows and integrals count from `from_row`. Positions on the curves still count from the start of
    the run: an amended curriculum takes over in the middle of its curves.
    """

    from_row: int
    mixture: Mixture


class Apportioner:
    """The source of each row of a run, starting at any row.

    The following rows depend only on `next_row` and `counts`, so a copy made from these two
    continues identically. k counts only the sources with a share above 0 somewhere between the
    phase's start and the end of its curves; the others never get a row. Fewer sources give a
    tighter bound. The choice uses only the phase's own curriculum, so a later phase does not
    change earlier rows.

    Attributes:
        next_row: Index of the next row, counted from the start of the run.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        counts: Mapping[str, int] | None = None,
        next_row: int = 0,
    ) -> None:
        """Start or resume a schedule.

        Args:
            phases: Phases by ascending `from_row`; the first starts at row 0.
            counts: Rows of each source since the start of the phase that contains `next_row`; a
                missing source has none.
            next_row: First row to assign.

        Raises:
            ConfigError: If phases are out of order, or counts do not belong to them.
        """
        _check_phases(phases)
        self._phases = tuple(phases)
        self.num_rows = phases[-1].mixture.num_rows
        if not 0 <= next_row <= self.num_rows:
            raise ConfigError(f"row {next_row} is outside the schedule of {self.num_rows} rows")
        self.next_row = next_row
        self._planned: list[int] = []
        self._position = 0
        self._enter(sum(phase.from_row <= next_row for phase in phases) - 1)
        self._counts = self._schedule.counts_at(next_row, counts or {})

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each source of the current phase since the phase's start."""
        return dict(zip(self._schedule.sources, self._counts, strict=True))

    def __iter__(self) -> Apportioner:
        """The schedule itself."""
        return self

    def __next__(self) -> str:
        """Return the source of row `next_row` and advance to the next row."""
        if self._position == len(self._planned):
            self._plan_on()
        source = self._planned[self._position]
        self._position += 1
        self.next_row += 1
        self._counts[source] += 1
        name = self._schedule.sources[source]
        if self.next_row == self._phase_end:
            self._enter(self._index + 1)
        return name

    def advance(self, num_rows: int) -> dict[str, int]:
        """Skip rows and count them by source, without scheduling all of them.

        Args:
            num_rows: Number of rows to skip, at most up to the schedule's end.

        Returns:
            Rows of each source among those skipped, including sources that have none.
        """
        totals = dict.fromkeys(self._schedule.sources, 0)
        target = min(self.next_row + num_rows, self.num_rows)
        while self.next_row < target:
            stop = min(target, self._phase_end)
            counts = self._schedule.counts_after(self.next_row, self._counts, stop)
            for index, name in enumerate(self._schedule.sources):
                totals[name] = totals.get(name, 0) + counts[index] - self._counts[index]
            self._counts, self.next_row = counts, stop
            self._planned, self._position = [], 0
            if stop == self._phase_end:
                self._enter(self._index + 1)
        return totals

    def _enter(self, index: int) -> None:
        """Begin a phase; after the last one, change nothing."""
        if index == len(self._phases):
            return
        self._index = index
        phase, following = self._phases[index], self._phases[index + 1 :]
        self._phase_end = following[0].from_row if following else self.num_rows
        self._schedule = PhaseSchedule(phase.mixture, phase.from_row)
        self._counts = [0] * len(self._schedule.sources)
        self._planned, self._position = [], 0

    def _plan_on(self) -> None:
        """Schedule the rest of the chunk that contains `next_row`."""
        if self.next_row >= self.num_rows:
            raise StopIteration
        planned = self._schedule.plan(self.next_row, self._counts)
        self._planned, self._position = planned[: self._phase_end - self.next_row], 0


def row_counts(phases: Sequence[Phase], num_rows: int | None = None) -> dict[str, int]:
    """Rows of each source in a run, exact.

    Args:
        phases: Phases of the run, as for `Apportioner`.
        num_rows: Number of first rows to count; all by default.

    Returns:
        Rows by source name, for all sources of all phases.
    """
    schedule = Apportioner(phases)
    made = schedule.advance(schedule.num_rows if num_rows is None else num_rows)
    names = sorted({name for phase in phases for name in phase.mixture.sources})
    return {name: made.get(name, 0) for name in names}


def _check_phases(phases: Sequence[Phase]) -> None:
    """Reject phases out of order."""
    starts = [phase.from_row for phase in phases]
    ends = [phase.mixture.num_rows for phase in phases]
    ascending = all(before < after for before, after in pairwise(starts))
    reached = all(start <= end for start, end in zip(starts[1:], ends, strict=False))
    if not starts or starts[0] != 0 or not ascending or not reached or starts[-1] >= ends[-1]:
        raise ConfigError(
            "the phases of a run begin at row 0, ascend, and begin before the curves in force "
            f"end; found phases from rows {starts} with curves of {ends} rows"
        )
