"""Guards: a step whose loss or gradient is not finite, or whose loss jumps, is skipped.

Every rank sees the same losses and makes the same decision. Losses of skipped steps do not enter
the window that later losses are compared with.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from linly.config.sections.watching_sections import GuardSettings
from linly.errors import TrainingError
from linly.records.row_loss import RowLoss, loss_by_source

MIN_WINDOW = 10
"""Losses of a source before spikes are detected, as losses fall fast in the first steps."""


@dataclass(frozen=True, slots=True)
class SkipReason:
    """Reason to skip a step.

    Attributes:
        text: Reason as text.
        rows: Indices of the rows that caused it, as far as known.
        sources: Sources of these rows.
    """

    text: str
    rows: tuple[int, ...]
    sources: tuple[str, ...]


class Guards:
    """Checks each step's losses before the optimizer step."""

    def __init__(self, settings: GuardSettings) -> None:
        """Start with empty windows."""
        self._settings = settings
        self._windows: dict[str, deque[float]] = {}
        self._consecutive = 0
        self._total = 0

    @property
    def num_skipped(self) -> int:
        """Number of steps skipped since the start of the run."""
        return self._total

    def check_losses(self, rows: Sequence[RowLoss]) -> SkipReason | None:
        """Reason to skip a step with these losses, if any; the windows are unchanged."""
        broken = [row for row in rows if not math.isfinite(row.nll)]
        if broken:
            return _reason("loss is not finite", broken)
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
        return _reason("; ".join(texts), spikes) if spikes else None

    def gradient_reason(self, rows: Sequence[RowLoss]) -> SkipReason:
        """Reason to skip a step whose gradients are not finite although all losses are."""
        return _reason("gradient is not finite", rows)

    def accept(self, rows: Sequence[RowLoss]) -> None:
        """Add an applied step's losses to the windows."""
        self._consecutive = 0
        for source, loss in loss_by_source(rows).items():
            if loss is not None:
                window = self._windows.setdefault(source, deque(maxlen=self._settings.spike_window))
                window.append(loss)

    def skip(self, reason: SkipReason) -> None:
        """Count a skipped step.

        Raises:
            TrainingError: If `max_consecutive_skips` steps in a row were skipped.
        """
        self._consecutive += 1
        self._total += 1
        if self._consecutive >= self._settings.max_consecutive_skips:
            raise TrainingError(
                f"{self._consecutive} steps in a row were skipped, the last because "
                f"{reason.text} (rows {_shortened(reason.rows)} of "
                f"{', '.join(sorted(set(reason.sources)))}); check these rows in rows/*.parquet, "
                "lower training.lr, or raise guards.max_consecutive_skips"
            )

    def state_dict(self) -> dict[str, Any]:
        """Windows and counts in JSON form."""
        return {
            "windows": {source: list(window) for source, window in self._windows.items()},
            "consecutive": self._consecutive,
            "total": self._total,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a checkpoint's windows and counts."""
        self._windows = {
            source: deque(window, maxlen=self._settings.spike_window)
            for source, window in state["windows"].items()
        }
        self._consecutive = state["consecutive"]
        self._total = state["total"]


def _reason(text: str, rows: Sequence[RowLoss]) -> SkipReason:
    return SkipReason(text, tuple(row.row for row in rows), tuple(row.source for row in rows))


def _shortened(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:8])
    return shown if len(rows) <= 8 else f"{shown} and {len(rows) - 8} more"
