"""Weights & Biases curves of a run; off unless the recipe has a `wandb` section.

Only the scalars of TensorBoard, over tokens seen, and the recipe are sent: no code, no console
output, no git data. `mode: offline` keeps them in the run folder until `wandb sync`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from linly.config.sections.tracker_sections import WandbSettings
from linly.errors import TrainingError
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.tracker import (
    StepTracker,
    check_installed,
    keep_id,
    kept_id,
    run_name,
)

ID_FILE = "wandb.json"
X_AXIS = "tokens_seen"


class WandbLog(StepTracker):
    """Writes a run's curves to Weights & Biases.

    The wandb id is stored in the run folder, so that a resume continues the same curves.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: WandbSettings,
        *,
        resumed_step: int,
        recipe: Mapping[str, Any],
    ) -> None:
        """Open the run at Weights & Biases.

        Args:
            run: Folder of the run.
            settings: The recipe's `wandb` section.
            resumed_step: Step of the checkpoint; 0 at a fresh start, which creates a new id.
            recipe: Recipe in JSON form, sent as the configuration.

        Raises:
            ConfigError: If wandb is not installed.
            TrainingError: If the run cannot be opened.
        """
        check_installed("wandb")
        import wandb

        (run.path / "wandb").mkdir(exist_ok=True)
        id_path = run.path / ID_FILE
        if (run_id := kept_id(id_path, resumed_step=resumed_step)) is None:
            run_id = secrets.token_hex(8)
            keep_id(id_path, run_id)
        try:
            self._run = wandb.init(
                project=settings.project,
                entity=settings.entity,
                name=run_name(run, settings.name),
                id=run_id,
                resume="allow",
                mode=settings.mode,
                dir=str(run.path.resolve()),
                config=dict(recipe),
                settings=wandb.Settings(
                    console="off", disable_git=True, disable_code=True, save_code=False, silent=True
                ),
            )
        except wandb.Error as error:
            raise TrainingError(
                f"wandb: the run cannot be opened: {error}; check the login (`wandb login`) and "
                f"the network, or use wandb.mode=offline"
            ) from error
        self._run.define_metric(X_AXIS)
        self._run.define_metric("*", step_metric=X_AXIS)
        super().__init__(self._run.step - 1)

    @property
    def place(self) -> str:
        """URL of the curves, or folder for `wandb sync`."""
        return str(self._run.url or self._run.dir.removesuffix("/files"))

    def write(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `StepTracker`."""
        self._run.log(dict(scalars), step=step)

    def finish(self) -> None:
        """See `StepTracker`."""
        import wandb

        self._run.finish()
        wandb.teardown()  # the writing process may outlive `finish`
