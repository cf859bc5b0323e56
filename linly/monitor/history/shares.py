"""Realized and planned shares over a run, for the mixture's charts and picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linly.monitor.history.history import History
from linly.monitor.history.step_columns import Floats, Integers

MIN_WINDOWS, MAX_WINDOWS = 16, 240
MIN_ROWS_PER_WINDOW = 128
"""Fewest rows of a window: with fewer, one row changes a share by more than a percent."""

MAX_POINTS = 400
"""Points of the planned curve."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares over a run. Rows of an array are points, columns sources.

    Attributes:
        window_tokens: Bounds of the windows of realized shares, float64 [w + 1], from 0.
        realized: Share of the rows in each window, float64 [w, k].
        steps_per_window: Approximate number of steps in a window.
        planned_tokens: Tokens at each planned point, float64 [p].
        planned: Share at each point, float64 [p, k]: recorded for past steps, then from the
            curriculum.
        num_past: Number of recorded points.
    """

    window_tokens: Floats
    realized: Floats
    steps_per_window: int
    planned_tokens: Floats
    planned: Floats
    num_past: int

    @property
    def has_future(self) -> bool:
        """Whether the curriculum continues after the last step."""
        return self.num_past < len(self.planned_tokens)

    @property
    def future(self) -> tuple[Floats, Floats]:
        """(tokens, planned shares) after the last step."""
        return self.planned_tokens[self.num_past :], self.planned[self.num_past :]

    @property
    def outline_tokens(self) -> Floats:
        """Start and end of each window in turn, float64 [2w], to draw it flat."""
        return np.repeat(self.window_tokens, 2)[1:-1]

    @property
    def outline(self) -> Floats:
        """Realized shares at `outline_tokens`, float64 [2w, k]."""
        return np.repeat(self.realized, 2, axis=0)

    @property
    def end_tokens(self) -> float:
        """Tokens at the end of the plan, or of the run if it went further."""
        return float(max(self.planned_tokens[-1], self.window_tokens[-1]))


def realized_and_planned(history: History) -> Shares:
    """Compute realized shares over windows of rows, and the planned curve of the whole run.

    Both jump where a phase begins, such as at an amendment: no window contains rows of two phases,
    and the curve has a point on either side.
    """
    num_steps, num_rows = history.num_steps, int(history.rows[-1].sum())
    wanted = max(MIN_WINDOWS, num_rows // MIN_ROWS_PER_WINDOW)
    phases = list(pairwise([0, *_steps_before_phases(history), num_steps]))
    ends = _divided(phases, min(MAX_WINDOWS, num_steps, wanted))
    tokens = np.concatenate([[0], history.tokens_seen]).astype(np.float64)
    rows = np.vstack([np.zeros(len(history.sources)), history.rows])[ends]
    in_window = np.diff(rows, axis=0)
    past_tokens, past = _past(history, phases, tokens)
    future_tokens, future = _future(history)
    return Shares(
        window_tokens=tokens[ends],
        realized=in_window / np.maximum(in_window.sum(axis=1, keepdims=True), 1),
        steps_per_window=round(num_steps / (len(ends) - 1)),
        planned_tokens=np.concatenate([past_tokens, future_tokens]),
        planned=np.vstack([past, future]),
        num_past=len(past),
    )


def _steps_before_phases(history: History) -> list[int]:
    """Number of steps before each phase but the first, of phases that begin within the log."""
    if history.timeline is None:
        return []
    num_rows = history.rows.sum(axis=1)
    begins = [phase.from_row for phase in history.timeline.phases[1:]]
    found = np.searchsorted(num_rows, begins) + 1
    return sorted({int(steps) for steps in found if steps < history.num_steps})


def _divided(phases: Sequence[tuple[int, int]], number: int) -> Integers:
    """Bounds of about `number` windows of steps, of which none crosses a phase: int64 [w + 1]."""
    num_steps = phases[-1][1]
    ends = [np.zeros(1)]
    for first, last in phases:
        parts = max(1, round(number * (last - first) / num_steps))
        ends.append(np.linspace(first, last, parts + 1)[1:])
    return np.concatenate(ends).astype(np.int64)


def _past(
    history: History, phases: Sequence[tuple[int, int]], tokens: Floats
) -> tuple[Floats, Floats]:
    """(tokens, planned shares as recorded), from the start of each phase to its end.

    A share is recorded for the middle of a step, so a phase's first and last one hold up to its
    ends.
    """
    at, shares = [], []
    for first, last in phases:
        number = min(last - first, math.ceil(MAX_POINTS * (last - first) / history.num_steps))
        steps = np.linspace(first, last - 1, number).round().astype(np.int64)
        middle = (tokens[steps] + tokens[steps + 1]) / 2
        at.append(np.concatenate([tokens[[first]], middle, tokens[[last]]]))
        recorded = history.target_share[steps]
        shares.append(np.vstack([recorded[:1], recorded, recorded[-1:]]))
    return np.concatenate(at), np.vstack(shares)


def last_of_groups(history: History) -> frozenset[int]:
    """Columns of the sources that end a group."""
    lengths = [len(names) for names in history.groups.values()]
    return frozenset((np.cumsum(lengths) - 1).tolist())


def _future(history: History) -> tuple[Floats, Floats]:
    """(tokens, shares) from the last step to the end of the run; empty if it is complete."""
    timeline = history.timeline
    seen, num_rows_seen = int(history.tokens_seen[-1]), int(history.rows[-1].sum())
    if timeline is None or not num_rows_seen or history.is_finished:
        return np.zeros(0), np.zeros((0, len(history.sources)))
    mixture = timeline.phases[-1].mixture
    rows = np.linspace(num_rows_seen, timeline.end_row, MAX_POINTS // 2)
    shares = np.zeros((len(rows), len(history.sources)))
    columns = [history.sources.index(source) for source in mixture.sources]
    shares[:, columns] = mixture.shares(rows)
    return np.linspace(seen, timeline.end_tokens, len(rows)), shares
