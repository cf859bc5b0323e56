"""The trackers of a run: TensorBoard, and those whose sections the recipe has."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

from linly.config.recipe import Recipe
from linly.records.metrics import MeasuredRecord
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.mlflow_log import MlflowLog
from linly.training.recording.trackers.scalars import scalars_of
from linly.training.recording.trackers.tensorboard import TensorBoardLog
from linly.training.recording.trackers.tracker import (
    StepTracker,
    Tracker,
    check_installed,
    sent_recipe,
)
from linly.training.recording.trackers.trackio_log import TrackioLog, check_trackio
from linly.training.recording.trackers.wandb_log import WandbLog


def check_trackers(recipe: Recipe) -> None:
    """Check that the trackers of a recipe can be used here, without opening them.

    Raises:
        ConfigError: If one cannot.
    """
    for section in ("wandb", "mlflow"):
        if getattr(recipe, section) is not None:
            check_installed(section)
    if recipe.trackio is not None:
        check_trackio()


def open_trackers(
    run: RunFolder, recipe: Recipe, *, resumed_step: int, warn: Callable[[str], None]
) -> dict[str, Tracker]:
    """Open all trackers of a run, by name.

    Args:
        run: Folder of the run.
        recipe: Recipe of the run.
        resumed_step: Step of the checkpoint; 0 at a fresh start.
        warn: Function that shows a warning.

    Raises:
        LinlyError: If a tracker that the recipe asks for cannot be used.
    """
    sent = sent_recipe(recipe)
    trackers: dict[str, Tracker] = {"tensorboard": TensorBoardLog(run, resumed_step=resumed_step)}
    if (wandb := recipe.wandb) is not None:
        trackers["wandb"] = WandbLog(run, wandb, resumed_step=resumed_step, recipe=sent)
    if (mlflow := recipe.mlflow) is not None:
        log = MlflowLog(run, mlflow, resumed_step=resumed_step, recipe=sent, warn=warn)
        add_missing(log, run, resumed_step=resumed_step)
        trackers["mlflow"] = log
    if (trackio := recipe.trackio) is not None:
        curves = TrackioLog(run, trackio, resumed_step=resumed_step, recipe=sent)
        add_missing(curves, run, resumed_step=resumed_step)
        trackers["trackio"] = curves
    return trackers


def add_missing(tracker: StepTracker, run: RunFolder, *, resumed_step: int) -> None:
    """Add steps of the run's logs that a tracker lacks: a killed run has not sent its last ones.

    Weights & Biases needs none of this: its own process outlives the run.
    """
    missing = range(tracker.last_step + 1, resumed_step + 1)
    records: list[tuple[int, MeasuredRecord]] = [
        (record.step, record)
        for records_of in (run.read_steps(), run.read_evaluations())
        for record in records_of
        if record.step in missing
    ]
    for step, record in sorted(records, key=itemgetter(0)):
        tracker.add(scalars_of(record), step=step)
