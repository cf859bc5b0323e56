"""The trackers of a run: TensorBoard, and those whose sections the recipe has."""

from __future__ import annotations

from collections.abc import Callable

from linly.config.recipe import Recipe
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.mlflow_log import MlflowLog
from linly.training.recording.trackers.tensorboard import TensorBoardLog
from linly.training.recording.trackers.tracker import Tracker, sent_recipe
from linly.training.recording.trackers.trackio_log import TrackioLog
from linly.training.recording.trackers.wandb_log import WandbLog


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
        trackers["mlflow"] = MlflowLog(
            run, mlflow, resumed_step=resumed_step, recipe=sent, warn=warn
        )
    if (trackio := recipe.trackio) is not None:
        trackers["trackio"] = TrackioLog(run, trackio, resumed_step=resumed_step, recipe=sent)
    return trackers
