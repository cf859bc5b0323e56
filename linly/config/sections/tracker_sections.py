"""Sections `wandb`, `mlflow` and `trackio` of a recipe: where curves are sent."""

from __future__ import annotations

from typing import Literal

from linly.config.yaml.quantities import (
    Text,
)
from linly.config.yaml.strict_model import (
    Model,
)


class WandbSettings(Model):
    """Curves at Weights & Biases; a recipe without this section sends nothing.

    Attributes:
        project: Project in which the run appears.
        entity: Owner of the project; by default that of the login.
        mode: Mode of wandb; offline keeps everything in the run folder, for `wandb sync`.
        name: Name of the run at Weights & Biases; by default that of the run folder.
    """

    project: Text
    entity: Text | None = None
    mode: Literal["online", "offline"] = "online"
    name: Text | None = None


class MlflowSettings(Model):
    """Curves at MLflow; a recipe without this section sends nothing.

    Attributes:
        experiment: Experiment in which the run appears; created if missing.
        tracking_uri: Address of the tracking server, or a database such as `sqlite:///mlflow.db`;
            by default `MLFLOW_TRACKING_URI`, else the database `mlflow.db` in the run folder.
        name: Name of the run at MLflow; by default that of the run folder.
    """

    experiment: Text
    tracking_uri: Text | None = None
    name: Text | None = None


class TrackioSettings(Model):
    """Curves at Trackio, on this machine; a recipe without this section writes none.

    Attributes:
        project: Project in which the run appears.
        name: Name of the run at Trackio; by default that of the run folder.
    """

    project: Text
    name: Text | None = None
