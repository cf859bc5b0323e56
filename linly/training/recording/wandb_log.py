"""Weights & Biases as one more program that plots: off unless the recipe has a `wandb` section.

Sent are the scalars that TensorBoard gets, over tokens seen, and the recipe; no code, no console
output, no git data. `mode: offline` keeps all of it in the run folder until `wandb sync`.
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
    """A run's curves at Weights & Biases.

    The run's id there is kept in the run folder, so that a resume goes on with the same curves.
    Steps that are there already are not sent again: a resumed run makes them anew, the same.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: WandbSettings,
        *,
        resumed_step: int,
        recipe: Mapping[str, Any],
    ) -> None:
        """Open the run there.

        Args:
            run: The run's folder.
            settings: Of the recipe.
            resumed_step: The last step that counts; a fresh start, 0, gets an id of its own.
            recipe: As JSON; shown with the curves.

        Raises:
            ConfigError: wandb is not installed.
            TrainingError: The run cannot be opened there.
        """
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise ConfigError(
                "the recipe has a `wandb` section, and wandb is not installed: "
                "pip install 'linly[wandb]', or take the section out"
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
        """Where the curves are: an address, or a folder for `wandb sync`."""
        return str(self._run.url or self._run.dir.removesuffix("/files"))

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `ScalarLog`."""
        if step >= self._first_step:
            self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """Send or write what is left."""
        import wandb

        self._run.finish()
        wandb.teardown()  # the process that writes may still do so after `finish`


def _run_id(run: RunFolder, *, is_fresh: bool) -> str:
    path = run.path / ID_FILE
    if not is_fresh and path.is_file():
        try:
            return str(orjson.loads(read_limited(path, limit_bytes=_ID_LIMIT_BYTES))["id"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path}: it should hold the run's id at Weights & Biases and cannot be read: "
                f"{error}; remove it to go on under a new id"
            ) from error
    made = secrets.token_hex(8)
    publish(path, orjson.dumps({"id": made}) + b"\n")
    return made
