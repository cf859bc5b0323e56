"""The source of each row: exact apportionment, no sampling.

Tijdeman's chairman assignment ("The chairman assignment problem", 1980): with k sources and any
shares, every source can stay within 1 - 1/(2k-2) < 1 row of its integral at every row.
It is earliest deadline first over unit jobs. The j-th row of a source is released when its
integral reaches j - 1 + 1/(2k-2) and due when the integral reaches j - 1/(2k-2). Of the released
rows, the one that is due earliest is scheduled first; ties are broken by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from linly.config.shapes import Floats
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError

UNITS = 1 << 20
"""Units per row to which integrals are rounded. Cosines differ between machines only in much
smaller digits, so all machines compare the same integers."""

CHUNK_ROWS = 16_384
"""Rows scheduled at once. Chunks begin at multiples of this from the phase's start, so a
schedule is the same wherever it is resumed."""

Integers = NDArray[np.int64]


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
        """Skip rows and count them by source.

        Args:
            num_rows: Number of rows to skip, at most up to the schedule's end.

        Returns:
            Rows of each source among those skipped, including sources that have none.
        """
        totals = dict.fromkeys(self._schedule.sources, 0)
        target = min(self.next_row + num_rows, self.num_rows)
        while self.next_row < target:
            if self._position == len(self._planned):
                self._plan_on()
            stop = min(len(self._planned), self._position + target - self.next_row)
            sources = self._schedule.sources
            made = np.bincount(self._planned[self._position : stop], minlength=len(sources))
            for index, count in enumerate(made.tolist()):
                totals[sources[index]] = totals.get(sources[index], 0) + count
                self._counts[index] += count
            self.next_row += stop - self._position
            self._position = stop
            if self.next_row == self._phase_end:
                self._enter(self._index + 1)
        return totals

    def _enter(self, index: int) -> None:
        """Begin a phase; after the last one, change nothing."""
        if index == len(self._phases):
            return
        self._index = index
        following = self._phases[index + 1 :]
        self._phase_end = following[0].from_row if following else self.num_rows
        self._schedule = _SegmentSchedule(self._phases[index])
        self._counts = [0] * len(self._schedule.sources)
        self._planned, self._position = [], 0

    def _plan_on(self) -> None:
        """Schedule the rest of the chunk that contains `next_row`."""
        if self.next_row >= self.num_rows:
            raise StopIteration
        planned = self._schedule.plan(self.next_row, self._counts)
        self._planned, self._position = planned[: self._phase_end - self.next_row], 0


class _SegmentSchedule:
    """Deadlines of one phase, chunk by chunk.

    Windows of jobs are compared with half a unit of grace on both ends. Rounding moves an integral
    by at most half a unit, so a true window is never shortened and Tijdeman's theorem still holds.
    The price is half a unit of drift.
    """

    def __init__(self, phase: Phase) -> None:
        self._mixture = phase.mixture
        self._from_row = phase.from_row
        self._end = phase.mixture.num_rows
        self.sources = phase.mixture.sources
        self._base = phase.mixture.integral([phase.from_row])
        planned = (phase.mixture.integral([self._end]) - self._base)[0]
        self._active = np.flatnonzero(np.rint(planned * UNITS) > 0)
        self._per_row = 2 * len(self._active) - 2
        most = (1 << 62) // (2 * UNITS * max(self._per_row, 1)) - 2
        if self._end > most:
            raise ConfigError(
                f"tokens: found {self._end:,} rows of {len(self._active)} sources, allowed: "
                f"{most:,} rows: use fewer tokens or fewer sources"
            )

    def counts_at(self, row: int, given: Mapping[str, int]) -> list[int]:
        """Counts in the order of `sources`, checked against the integrals at `row`.

        Raises:
            ConfigError: If this phase cannot have produced these counts.
        """
        counts = [given.get(name, 0) for name in self.sources]
        done = row - self._from_row
        where = f"the schedule from row {self._from_row} on, resumed at row {row}"
        if sum(counts) != done or sum(given.values()) != done:
            raise ConfigError(
                f"{where}: {done} rows came before, but the counts are {dict(given)} for the "
                f"sources {', '.join(self.sources)}"
            )
        planned = (self._mixture.integral([row]) - self._base)[0]
        limit = drift_bound(len(self._active)) + 2.0 / UNITS
        for name, count, target in zip(self.sources, counts, planned.tolist(), strict=True):
            if abs(count - target) > limit:
                raise ConfigError(
                    f"{where}: {count} rows are counted for source {name} and {target:.3f} are "
                    f"planned, further apart than {limit:.3f}: the counts belong to another "
                    "curriculum"
                )
        return counts

    def plan(self, row: int, counts: Sequence[int]) -> list[int]:
        """Source indices of rows [row, end); end is the end of the row's chunk or of the curves."""
        start = row - (row - self._from_row) % CHUNK_ROWS
        stop = min(start + CHUNK_ROWS, self._end)
        if len(self._active) == 1:
            return [int(self._active[0])] * (stop - row)
        releases, keys = self._jobs(start, stop, counts)
        return self._earliest_deadline_first(row - start, stop - start, releases, keys)

    def _units(self, rows: Integers) -> Integers:
        """Integrals since the phase's start, in units, int64 [n, k]."""
        integral: Floats = self._mixture.integral(rows) - self._base
        return np.rint(integral * UNITS).astype(np.int64)

    def _released(self, units: Integers) -> Integers:
        """Jobs j >= 1 of a source that are released: integral >= j - 1 + 1/(2k-2), with grace."""
        m = self._per_row
        return (2 * m * units + m - 2 * UNITS) // (2 * m * UNITS) + 1

    def _due(self, units: Integers) -> Integers:
        """Jobs j >= 1 of a source that are due: integral > j - 1/(2k-2), with grace."""
        m = self._per_row
        return (2 * m * units - m + 2 * UNITS - 1) // (2 * m * UNITS)

    def _jobs(self, start: int, stop: int, counts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Unfinished jobs that are released before `stop`.

        Returns:
            Two lists sorted by release: the row of each job's release, counted from `start`, and
            its key `due row * k + source`, which sorts by due row, then by name.
        """
        units = self._units(np.arange(start + 1, stop + 1))[:, self._active]
        units = np.maximum.accumulate(units, axis=0)
        released, due = self._released(units), self._due(units)
        num_active = len(self._active)
        job_parts, owner_parts, release_parts, due_parts = [], [], [], []
        for owner, source in enumerate(self._active.tolist()):
            jobs = np.arange(counts[source] + 1, int(released[-1, owner]) + 1)
            job_parts.append(jobs)
            owner_parts.append(np.full(len(jobs), owner))
            release_parts.append(np.searchsorted(released[:, owner], jobs))
            due_parts.append(np.searchsorted(due[:, owner], jobs) + start)
        jobs, owners = np.concatenate(job_parts), np.concatenate(owner_parts)
        release_rows, due_rows = np.concatenate(release_parts), np.concatenate(due_parts)
        later = due_rows == stop
        due_rows[later] = self._due_after(stop, jobs[later], owners[later])
        order = np.argsort(release_rows, kind="stable")
        keys = due_rows * num_active + owners
        return release_rows[order].tolist(), keys[order].tolist()

    def _due_after(self, stop: int, jobs: Integers, owners: Integers) -> Integers:
        """Due rows at or after `stop`, by bisection; the end of the curves for a job never due."""
        low = np.full(len(jobs), stop)
        high = np.full(len(jobs), self._end)
        line = np.arange(len(jobs))
        while bool(np.any(low < high)):
            middle = (low + high) // 2
            units = self._units(middle + 1)[line, self._active[owners]]
            reached = self._due(units) >= jobs
            high = np.where(reached, middle, high)
            low = np.where(reached, low, np.minimum(middle + 1, high))
        return low

    def _earliest_deadline_first(
        self, first: int, stop: int, releases: Sequence[int], keys: Sequence[int]
    ) -> list[int]:
        """Assign to each row in [first, stop) the released job that is due first."""
        num_active = len(self._active)
        names = self._active.tolist()
        position = int(np.searchsorted(releases, first, side="right"))
        waiting = list(keys[:position])
        heapify(waiting)
        releases = [*releases, stop]
        planned = []
        for row in range(first, stop):
            while releases[position] <= row:
                heappush(waiting, keys[position])
                position += 1
            planned.append(names[heappop(waiting) % num_active])
        return planned


def row_counts(phases: Sequence[Phase], num_rows: int | None = None) -> dict[str, int]:
    """Rows of each source in a run, computed from its whole schedule.

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


def drift_bound(num_sources: int) -> float:
    """Largest possible drift in rows: 1 - 1/(2k-2) for k sources whose share is above 0."""
    return 0.0 if num_sources <= 1 else 1.0 - 1.0 / (2 * num_sources - 2)


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
