"""The interface of trackers, and what most of them share: joined steps, names, kept ids."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from linly.config.recipe import Recipe
from linly.errors import ConfigError, TrainingError
from linly.files import publish, read_limited
from linly.runs.runs import RunFolder

_NOT_SENT = ("alarms", "wandb", "mlflow", "trackio")
"""Sections of a recipe that a tracker does not receive: commands and addresses."""

_ID_LIMIT_BYTES = 4096


class Tracker(Protocol):
    """A program that plots the scalars of a run; used on rank 0 only."""

    @property
    def place(self) -> str:
        """Place of the curves, for people: an address, a folder or a command."""

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Add scalars of a step; steps do not descend, and may repeat."""

    def close(self) -> None:
        """Write buffered scalars and close the tracker."""


class StepTracker(ABC):
    """Base of trackers that take all scalars of a step at once, each step once.

    Scalars of a step and its evaluation are joined, and written when the next step begins. A
    resumed run repeats steps with the same values, so that steps that the tracker has already are
    skipped.
    """

    def __init__(self, last_step: int | None) -> None:
        """Continue after the last step that the tracker has; None if it has none."""
        self._last_step = -1 if last_step is None else last_step
        self._step: int | None = None
        self._scalars: dict[str, float] = {}

    @property
    def last_step(self) -> int:
        """Last step that the tracker had when it was opened; -1 if it had none."""
        return self._last_step

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `Tracker`."""
        if step <= self._last_step:
            return
        if step != self._step:
            self._write_joined()
            self._step = step
        self._scalars |= scalars

    def close(self) -> None:
        """See `Tracker`."""
        self._write_joined()
        self.finish()

    def _write_joined(self) -> None:
        if self._step is not None:
            self.write(self._scalars, step=self._step)
        self._step, self._scalars = None, {}

    @abstractmethod
    def write(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Write all scalars of a step."""

    @abstractmethod
    def finish(self) -> None:
        """Close the tracker's run after the last step."""


def check_installed(section: str) -> None:
    """Check that the package of a tracker is installed.

    Args:
        section: Section of the recipe, which is also the name of the package.

    Raises:
        ConfigError: If it is not.
    """
    if importlib.util.find_spec(section) is None:
        raise ConfigError(
            f"the recipe has the section `{section}`, but {section} is not installed: "
            f"pip install 'linly[{section}]', or remove the section"
        )


def run_name(run: RunFolder, name: str | None) -> str:
    """Return the name of a run at a tracker: the given one, or that of the run folder."""
    return name or run.path.resolve().name


def sent_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as trackers receive it, in JSON form."""
    form = recipe.file_form()
    return {key: form[key] for key in form if key not in _NOT_SENT}


def kept_id(path: Path, *, resumed_step: int) -> str | None:
    """Return the id of the run at a tracker; None at a fresh start, which needs a new one.

    Raises:
        TrainingError: If the file cannot be read.
    """
    if resumed_step == 0 or not path.is_file():
        return None
    try:
        return str(orjson.loads(read_limited(path, limit_bytes=_ID_LIMIT_BYTES))["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path}: the id of the run's curves cannot be read: {error}; remove the file to "
            f"continue with a new id"
        ) from error


def keep_id(path: Path, made: str) -> None:
    """Store the id of the run at a tracker, for resumes."""
    publish(path, orjson.dumps({"id": made}) + b"\n")
