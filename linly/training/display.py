"""What rank 0 shows besides the run's logs: the progress, curves for programs that plot, alarms."""

from __future__ import annotations

from typing import Any

from linly.modeling.trainable import count_trained
from linly.training.alarm_relay import AlarmRelay
from linly.training.progress import ProgressView
from linly.training.resume import plain_recipe
from linly.training.scalars import ScalarLog, evaluation_scalars, step_scalars
from linly.training.session import Session
from linly.training.tensorboard import TensorBoardLog
from linly.training.wandb_log import WandbLog


class Display:
    """What rank 0 shows besides the run's logs: the progress, curves and alarms."""

    def __init__(self, session: Session, *, is_quiet: bool) -> None:
        """Show a run that stands at the session's step; quiet shows warnings alone.

        Raises:
            LinlyError: A program that plots, asked for in the recipe, cannot be used.
        """
        self._view = ProgressView(
            step=session.step, num_steps=session.recipe.num_steps, is_quiet=is_quiet
        )
        self._logs: list[ScalarLog] = [TensorBoardLog(session.run, resumed_step=session.step)]
        if session.recipe.wandb is not None:
            wandb = WandbLog(
                session.run,
                session.recipe.wandb,
                resumed_step=session.step,
                recipe=plain_recipe(session.recipe),
            )
            self._logs.append(wandb)
            self.message(f"wandb: {wandb.place}")
        self._alarms = AlarmRelay(session)
        if session.step:
            self.message(f"resumed after step {session.step}")
        count = count_trained(session.engine.module)
        text = f"training {count}; {session.engine.description}"
        session.event("model", text, trained=count.trained, parameters=count.total)
        self.message(text)

    def step(self, metrics: dict[str, Any], *, bad_records: int) -> None:
        """Show a step, and the alarms that it raises."""
        scalars = step_scalars(metrics)
        for log in self._logs:
            log.add(scalars, step=metrics["step"])
        self._view.step(metrics)
        for text in self._alarms.step(metrics, bad_records=bad_records):
            self.warning(text)

    def evaluation(self, record: dict[str, Any]) -> None:
        """Show an evaluation."""
        scalars = evaluation_scalars(record)
        for log in self._logs:
            log.add(scalars, step=record["step"])
        self._view.evaluation(record)
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
        for log in self._logs:
            log.close()
        self._view.close()
