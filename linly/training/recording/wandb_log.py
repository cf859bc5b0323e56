"""Weights & Biases curves of a run; off unless the recipe has a `wandb` section.

Only the scalars of TensorBoard, over tokens seen, and the recipe are sent: no code, no console
output, no git data. `mode: offline` keeps them in the run folder until `wandb sync`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import orjson

from linly.config.settings import WandbSettings
from linly.errors import ConfigError, TrainingError
from linly.files import publish, read_limited
from linly.runs.runs import RunFolder

ID_FILE = "wandb.json"
X_AXIS = "tokens_seen"
_ID_LIMIT_BYTES = 4096


class WandbLog:
    """Writes a run's curves to Weights & Biases.

    The wandb id is stored in the run folder, so that a resume continues the same curves. Steps that
    were sent before are not sent again, as a resumed run repeats them with the same values.
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
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise ConfigError(
                "the recipe has a `wandb` section, but wandb is not installed: "
                "pip install 'linly[wandb]', or remove the section"
            ) from error
        (run.path / "wandb").mkdir(exist_ok=True)
        try:
            self._run = wandb.init(
                project=settings.project,
                entity=settings.entity,
                name=settings.name or run.path.resolve().name,
                id=_run_id(run, is_fresh=resumed_step == 0),
                resume="allow",
                mode=settings.mode,
                dir=str(run.path.resolve()),
                config={key: recipe[key] for key in recipe if key not in ("alarms", "wandb")},
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
        self._first_step = self._run.step

    @property
    def place(self) -> str:
        """URL of the curves, or folder for `wandb sync`."""
        return str(self._run.url or self._run.dir.removesuffix("/files"))

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `ScalarLog`."""
        if step >= self._first_step:
            self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """Send or write buffered scalars and finish the run."""
        import wandb

        self._run.finish()
        wandb.teardown()  # the writing process may outlive `finish`


def _run_id(run: RunFolder, *, is_fresh: bool) -> str:
    path = run.path / ID_FILE
    if not is_fresh and path.is_file():
        try:
            return str(orjson.loads(read_limited(path, limit_bytes=_ID_LIMIT_BYTES))["id"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path}: the run's Weights & Biases id cannot be read: {error}; remove the file "
                "to continue with a new id"
            ) from error
    made = secrets.token_hex(8)
    publish(path, orjson.dumps({"id": made}) + b"\n")
    return made
