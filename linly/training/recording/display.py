"""Output of rank 0 in addition to the run's logs: progress, curves for plotting, alarms."""

from __future__ import annotations

from collections.abc import Callable

from linly.config.recipe import Recipe
from linly.records.evaluation_record import EvaluationRecord
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.recording.alarm_relay import AlarmRelay
from linly.training.recording.progress import ProgressView
from linly.training.recording.trackers.open_trackers import open_trackers
from linly.training.recording.trackers.scalars import scalars_of


class Display:
    """Output of rank 0 in addition to the run's logs: progress, curves and alarms."""

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        event: Callable[..., None],
        *,
        step: int,
        is_quiet: bool,
    ) -> None:
        """Show a run from a step.

        Args:
            run: Folder of the run.
            recipe: Recipe of the run.
            event: Function that adds a line to the run's events: kind, text, details by name.
            step: Steps taken before this start.
            is_quiet: Whether to show warnings only.

        Raises:
            LinlyError: If a tracker that the recipe asks for cannot be used.
        """
        groups = {source: group for source, (group, _) in recipe.curriculum.sources.items()}
        self._view = ProgressView(
            step=step, num_steps=recipe.num_steps, groups=groups, is_quiet=is_quiet
        )
        self._trackers = open_trackers(run, recipe, resumed_step=step, warn=self.warning)
        for name, tracker in self._trackers.items():
            if name != "tensorboard":  # it is always there
                self.message(f"{name}: {tracker.place}")
        self._alarms = AlarmRelay(run, recipe.alarms, event)

    def step(self, record: StepRecord, *, bad_records: int) -> None:
        """Show a step and its alarms."""
        scalars = scalars_of(record)
        for tracker in self._trackers.values():
            tracker.add(scalars, step=record.step)
        self._view.step(record)
        for text in self._alarms.step(record, bad_records=bad_records):
            self.warning(text)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Show an evaluation and its alarms."""
        scalars = scalars_of(record)
        for tracker in self._trackers.values():
            tracker.add(scalars, step=record.step)
        self._view.evaluation(record)
        for text in self._alarms.evaluation(record):
            self.warning(text)

    def message(self, text: str) -> None:
        """Show a line."""
        self._view.message(text)

    def warning(self, text: str) -> None:
        """Show a warning."""
        self._view.warning(text)

    def close(self) -> None:
        """Close the alarms, the trackers and the progress."""
        self._alarms.close()
        for tracker in self._trackers.values():
            tracker.close()
        self._view.close()
