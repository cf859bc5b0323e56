"""Realized and planned shares over a run, for the mixture's charts and picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linly.monitor.history.history import Floats, History

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
    """Compute realized shares over windows of rows, and the planned curve of the whole run."""
    totals = history.rows.sum(axis=1)
    wanted = max(MIN_WINDOWS, int(totals[-1]) // MIN_ROWS_PER_WINDOW)
    num_windows = min(MAX_WINDOWS, history.num_steps, wanted)
    ends = np.linspace(0, history.num_steps, num_windows + 1).astype(np.int64)
    tokens = np.concatenate([[0], history.tokens_seen]).astype(np.float64)
    rows = np.vstack([np.zeros(len(history.sources)), history.rows])[ends]
    in_window = np.diff(rows, axis=0)

    points = np.linspace(0, history.num_steps - 1, min(history.num_steps, MAX_POINTS))
    points = points.round().astype(np.int64)
    middle_of_step = (tokens[:-1] + tokens[1:])[points] / 2
    past = np.concatenate([[0.0], middle_of_step, [tokens[-1]]])
    recorded = history.target_share[points]
    future_tokens, future = _future(history)
    return Shares(
        window_tokens=tokens[ends],
        realized=in_window / np.maximum(in_window.sum(axis=1, keepdims=True), 1),
        steps_per_window=round(history.num_steps / num_windows),
        planned_tokens=np.concatenate([past, future_tokens]),
        planned=np.vstack([recorded[:1], recorded, recorded[-1:], future]),
        num_past=len(past),
    )


def last_of_groups(history: History) -> frozenset[int]:
    """Columns of the sources that end a group."""
    lengths = [len(names) for names in history.groups.values()]
    return frozenset((np.cumsum(lengths) - 1).tolist())


def _future(history: History) -> tuple[Floats, Floats]:
    """(tokens, shares) from the last step to the end of the curriculum; empty if it is complete."""
    timeline = history.timeline
    seen, num_rows_seen = int(history.tokens_seen[-1]), int(history.rows[-1].sum())
    tokens_per_step = seen / int(history.step[-1])
    if timeline is None or not num_rows_seen or timeline.curriculum.tokens - seen < tokens_per_step:
        return np.zeros(0), np.zeros((0, len(history.sources)))
    mixture = timeline.phases[-1].mixture
    rows = np.linspace(num_rows_seen, mixture.num_rows, MAX_POINTS // 2)
    shares = np.zeros((len(rows), len(history.sources)))
    columns = [history.sources.index(source) for source in mixture.sources]
    shares[:, columns] = mixture.shares(rows)
    return np.linspace(seen, timeline.curriculum.tokens, len(rows)), shares
