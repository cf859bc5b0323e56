"""Guards: a step whose loss or gradient is not finite, or whose loss jumps, is skipped.

Every rank sees the same losses and decides the same. What was skipped does not enter the window
that later losses are compared with.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from linly.config.settings import GuardSettings
from linly.errors import TrainingError

MIN_WINDOW = 10
"""A source's losses before a spike is looked for: the first steps of a run fall fast."""


@dataclass(frozen=True, slots=True)
class RowLoss:
    """A row of the step: its number in the run's stream, its loss in nats over all its targets."""

    row: int
    source: str
    nll: float
    targets: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why a step is skipped.

    Attributes:
        reason: For people.
        rows: Numbers of the rows that are to blame, as far as can be told.
        sources: Their sources.
    """

    reason: str
    rows: tuple[int, ...]
    sources: tuple[str, ...]


class Guards:
    """Looks at each step's losses before the optimizer does."""

    def __init__(self, settings: GuardSettings) -> None:
        """Start with empty windows."""
        self._settings = settings
        self._windows: dict[str, deque[float]] = {}
        self._consecutive = 0
        self._total = 0

    @property
    def num_skipped(self) -> int:
        """Steps skipped since the start of the run."""
        return self._total

    def check_losses(self, rows: Sequence[RowLoss]) -> Alarm | None:
        """The alarm that this step's losses raise, if any; changes nothing."""
        broken = [row for row in rows if not math.isfinite(row.nll)]
        if broken:
            return _alarm("loss is not finite", broken)
        spikes = []
        texts = []
        for source, loss in loss_by_source(rows).items():
            window = self._windows.get(source, ())
            if loss is None or len(window) < min(MIN_WINDOW, self._settings.spike_window):
                continue
            usual = median(window)
            if loss > self._settings.spike * usual:
                texts.append(
                    f"loss of {source} is {loss:.3f}, over {self._settings.spike:g} times the "
                    f"median {usual:.3f} of its last {len(window)} steps"
                )
                spikes += [row for row in rows if row.source == source]
        return _alarm("; ".join(texts), spikes) if spikes else None

    def gradient_alarm(self, rows: Sequence[RowLoss]) -> Alarm:
        """The alarm for gradients that are not finite though all losses are."""
        return _alarm("gradient is not finite", rows)

    def accept(self, rows: Sequence[RowLoss]) -> None:
        """Count an applied step's losses into the windows."""
        self._consecutive = 0
        for source, loss in loss_by_source(rows).items():
            if loss is not None:
                window = self._windows.setdefault(source, deque(maxlen=self._settings.spike_window))
                window.append(loss)

    def skip(self, alarm: Alarm) -> None:
        """Count a skipped step.

        Raises:
            TrainingError: It was one too many in a row.
        """
        self._consecutive += 1
        self._total += 1
        if self._consecutive >= self._settings.max_consecutive_skips:
            raise TrainingError(
                f"{self._consecutive} steps in a row were skipped, the last because "
                f"{alarm.reason} (rows {_shortened(alarm.rows)} of "
                f"{', '.join(sorted(set(alarm.sources)))}); look at these rows in rows/*.parquet, "
                "lower training.lr, or raise guards.max_consecutive_skips"
            )

    def state_dict(self) -> dict[str, Any]:
        """Windows and counts, as JSON."""
        return {
            "windows": {source: list(window) for source, window in self._windows.items()},
            "consecutive": self._consecutive,
            "total": self._total,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's windows and counts."""
        self._windows = {
            source: deque(window, maxlen=self._settings.spike_window)
            for source, window in state["windows"].items()
        }
        self._consecutive = state["consecutive"]
        self._total = state["total"]


def loss_by_source(rows: Sequence[RowLoss]) -> dict[str, float | None]:
    """Mean loss per supervised target of each source in the step; None without targets."""
    nll: dict[str, float] = {}
    targets: dict[str, int] = {}
    for row in rows:
        nll[row.source] = nll.get(row.source, 0.0) + row.nll
        targets[row.source] = targets.get(row.source, 0) + row.targets
    return {
        source: nll[source] / targets[source] if targets[source] else None for source in sorted(nll)
    }


def _alarm(reason: str, rows: Sequence[RowLoss]) -> Alarm:
    return Alarm(reason, tuple(row.row for row in rows), tuple(row.source for row in rows))


def _shortened(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:8])
    return shown if len(rows) <= 8 else f"{shown} and {len(rows) - 8} more"
