"""Schedule of one phase: which source each row is due to.

Tijdeman's chairman assignment ("The chairman assignment problem", 1980): with k sources and any
shares, every source can stay within 1 - 1/(2k-2) < 1 row of its integral at every row.
It is earliest deadline first over unit jobs. The j-th row of a source is released when its
integral reaches j - 1 + 1/(2k-2) and due when the integral reaches j - 1/(2k-2). Of the released
rows, the one that is due earliest is scheduled first; ties are broken by name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from linly.config.shapes import Floats
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError

UNITS = 1 << 20
"""Units per row to which integrals are rounded. Cosines differ between machines only in much
smaller digits, so all machines compare the same integers."""

NOISE_UNITS = 2
"""Units by which the integral of a flat curve may differ between rows."""

CHUNK_ROWS = 16_384
"""Rows scheduled at once. Chunks begin at multiples of this from the phase's start, so a
schedule is the same wherever it is resumed."""

Integers = NDArray[np.int64]

NEVER = 1 << 62
"""Number of a job that no source has."""


class PhaseSchedule:
    """Deadlines of one phase, chunk by chunk.

    Windows of jobs are compared with half a unit of grace on both ends. Rounding moves an integral
    by at most half a unit, so a true window is never shortened and Tijdeman's theorem still holds.
    The price is half a unit of drift.
    """

    def __init__(self, mixture: Mixture, from_row: int) -> None:
        """Compute nothing yet; rows and integrals count from `from_row`.

        Raises:
            ConfigError: If there are too many rows for 64-bit integers.
        """
        self._mixture = mixture
        self._from_row = from_row
        self._end = mixture.num_rows
        self.sources = mixture.sources
        self._base = mixture.integral([from_row])
        planned = (mixture.integral([self._end]) - self._base)[0]
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

    def counts_after(self, row: int, counts: Sequence[int], target: int) -> list[int]:
        """Counts at `target`, given those at `row`; exact, though most rows are not scheduled.

        Two schedules with equal sums of counts at a row differ in jobs that are open there:
        released and not yet due. While they differ, a step removes a job from the difference, or
        replaces it by a waiting job that comes no later than another one of the difference. So
        they are equal once all jobs that were open at the start are due. Scheduling may therefore
        start at any row with any allowed counts, if all jobs that are open there are due before
        `target`.
        """
        counts = list(counts)
        if len(self._active) == 1:
            counts[int(self._active[0])] += target - row
            return counts
        unsettled = np.zeros(len(self._active), np.int64)
        while row < target:
            if np.all(unsettled <= self._settled(row)):  # the counts are exact here
                row, counts, unsettled = self._latest_start(row, counts, target)
            planned = self.plan(row, counts)[: target - row]
            for source, count in enumerate(np.bincount(planned, minlength=len(counts)).tolist()):
                counts[source] += count
            row += len(planned)
        return counts

    def _latest_start(
        self, row: int, counts: list[int], target: int
    ) -> tuple[int, list[int], Integers]:
        """Latest row from which `counts_after` may schedule: the start of a chunk, or `row`.

        Returns:
            The row, counts there, and for each active source the last job that these counts may
            have or not have; 0 for none.
        """
        settled = self._settled(target)
        known = np.array(counts)[self._active]
        never = self._never_due()
        waiting = (known + 1 == never) & (self._released(self._units_at(row)) >= never)
        start = target
        while (start := self._chunk_start(start - 1)) > row:
            units = self._units_at(start)
            least, released = np.maximum(self._due(units), known), self._released(units)
            if self._is_near_threshold(units):
                continue
            if np.any(waiting) and self._keep_waiting(waiting, known, never, start):
                released = np.where(waiting, known, released)
            is_open = released > least
            late = np.flatnonzero(is_open & (released > settled)).tolist()
            if not late:
                allowed = self._allowed_counts(start, counts, least, released)
                return start, allowed, np.where(is_open, released, 0)
            start = max(self._first_released(owner, released, row, start) for owner in late)
        return row, counts, np.zeros(len(self._active), np.int64)

    def _never_due(self) -> Integers:
        """First job of each active source that is never due; a distant one if that is noise."""
        end = self._units_at(self._end)
        first, last = self._due(end - NOISE_UNITS) + 1, self._due(end + NOISE_UNITS) + 1
        return np.where(first == last, first, NEVER)

    def _keep_waiting(
        self, waiting: NDArray[np.bool_], known: Integers, never: Integers, row: int
    ) -> bool:
        """Whether jobs that are never due, and wait now, still wait at a later row.

        Args:
            waiting: Whether each active source has such a job: bool [k].
            known: Counts of the active sources now.
            never: First job of each active source that is never due.
            row: Later row.

        They come after all jobs that are due some time. Of each of n sources that still run, more
        jobs than its integral - 1/(2k-2) are released. So one of these is always there to be taken
        first if the sources that run no more, waiting or done, lag behind their integrals by at
        most 1 - n/(2k-2) rows together.
        """
        units = self._units_at(row) + NOISE_UNITS
        released = self._released(units)
        runs = ~waiting & (released > known)
        if not np.any(runs) or np.any((released >= never)[runs & (known < never)]):
            return False
        lag = int((units - UNITS * known)[~runs].sum()) + len(self.sources)
        return lag * self._per_row <= UNITS * (self._per_row - int(runs.sum()))

    def _settled(self, row: int) -> Integers:
        """Jobs of each active source that every schedule has done before a row: int64 [k]."""
        return self._due(self._units_at(row) - NOISE_UNITS)

    def _is_near_threshold(self, units: Integers) -> bool:
        """Whether noise in the integrals may change which jobs are released or due."""
        low, high = units - NOISE_UNITS, units + NOISE_UNITS
        return bool(
            np.any(self._due(low) != self._due(high))
            or np.any(self._released(low) != self._released(high))
        )

    def _first_released(self, owner: int, jobs: Integers, low: int, high: int) -> int:
        """First row in [low, high] before which a source's job in `jobs` is released."""

        def released(row: int) -> int:
            return int(self._released(self._units_at(row) + NOISE_UNITS)[owner])

        return low + bisect_left(range(low, high), int(jobs[owner]), key=released)

    def _allowed_counts(
        self, row: int, counts: Sequence[int], least: Integers, released: Integers
    ) -> list[int]:
        """Counts at a row between the least possible and the released jobs of each source."""
        found = list(counts)
        missing = row - self._from_row - int(least.sum())
        owners = zip(self._active.tolist(), least.tolist(), released.tolist(), strict=True)
        for source, fewest, most in owners:
            extra = min(missing, most - fewest)
            found[source] = fewest + extra
            missing -= extra
        assert missing == 0, f"no counts are allowed at row {row}"
        return found

    def _chunk_start(self, row: int) -> int:
        """Start of the chunk that contains a row."""
        return row - (row - self._from_row) % CHUNK_ROWS

    def _units_at(self, row: int) -> Integers:
        """Integrals of the active sources before a row, in units: int64 [k]."""
        units: Integers = self._units(np.array([row]))[0, self._active]
        return units

    def plan(self, row: int, counts: Sequence[int]) -> list[int]:
        """Source indices of rows [row, end); end is the end of the row's chunk or of the curves."""
        start = self._chunk_start(row)
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


def drift_bound(num_sources: int) -> float:
    """Largest possible drift in rows: 1 - 1/(2k-2) for k sources whose share is above 0."""
    return 0.0 if num_sources <= 1 else 1.0 - 1.0 / (2 * num_sources - 2)
