"""What rank 0 shows besides the run's logs: the progress, TensorBoard's curves, alarms."""

from __future__ import annotations

from typing import Any

from linly.training.alarm_relay import AlarmRelay
from linly.training.progress import ProgressView
from linly.training.session import Session
from linly.training.tensorboard import TensorBoardLog


class Display:
    """What rank 0 shows besides the run's logs: the progress, TensorBoard and alarms."""

    def __init__(self, session: Session, *, is_quiet: bool) -> None:
        """Show a run that stands at the session's step; quiet shows warnings alone."""
        self._tensorboard = TensorBoardLog(session.run, resumed_step=session.step)
        self._view = ProgressView(
            step=session.step, num_steps=session.recipe.num_steps, is_quiet=is_quiet
        )
        self._alarms = AlarmRelay(session)
        if session.step:
            self.message(f"resumed after step {session.step}")

    def step(self, metrics: dict[str, Any], *, bad_records: int) -> None:
        """Show a step, and the alarms that it raises."""
        self._tensorboard.step(metrics)
        self._view.step(metrics)
        for text in self._alarms.step(metrics, bad_records=bad_records):
            self.warning(text)

    def evaluation(self, record: dict[str, Any]) -> None:
        """Show an evaluation."""
        self._tensorboard.evaluation(record)
        bits = "  ".join(
            f"{source} {result['bits_per_byte']:.3f}"
            for source, result in record["sources"].items()
        )
        self.message(f"step {record['step']} bits/byte: {bits or 'no held-out documents'}")
        for text in self._alarms.evaluation(record):
            self.warning(text)

    def message(self, text: str) -> None:
        """Show a line."""
        self._view.message(text)

    def warning(self, text: str) -> None:
        """Show a line about something that went wrong."""
        self._view.warning(text)

    def close(self) -> None:
        """Close all of it."""
        self._alarms.close()
        self._tensorboard.close()
        self._view.close()
