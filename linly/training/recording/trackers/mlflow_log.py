"""MLflow curves of a run; off unless the recipe has an `mlflow` section.

Only the scalars of TensorBoard and the recipe, as parameters, are sent. MLflow's own telemetry is
off unless the environment turns it on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any

from linly.config.sections.tracker_sections import MlflowSettings
from linly.errors import TrainingError
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.scalars import key_of
from linly.training.recording.trackers.tracker import (
    StepTracker,
    check_installed,
    keep_id,
    kept_id,
    run_name,
)

ID_FILE = "mlflow.json"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
FLUSH_INTERVAL_S = 10.0

_LAST_KEY = "tokens_seen"
"""Scalar of every step; it is sent after the others, so that its last step is there as a whole."""

_MAX_METRICS = 1_000
_MAX_PARAMS = 100
_MAX_VALUE = 500
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Environment of MLflow, where the user's does not say otherwise."""


class MlflowLog(StepTracker):
    """Writes a run's curves to MLflow: a tracking server, or a database in the run folder.

    The id of the run at MLflow is stored in the run folder, so that a resume continues the same
    curves. Scalars are sent every `FLUSH_INTERVAL_S`; what cannot be sent is tried again then, so
    that training goes on while a server is away.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: MlflowSettings,
        *,
        resumed_step: int,
        recipe: Mapping[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        """Open the run at MLflow.

        Args:
            run: Folder of the run.
            settings: The recipe's `mlflow` section.
            resumed_step: Step of the checkpoint; 0 at a fresh start, which creates a new run.
            recipe: Recipe in JSON form, sent as parameters.
            warn: Function that shows a warning.

        Raises:
            ConfigError: If MLflow is not installed.
            TrainingError: If the run cannot be opened.
        """
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        check_installed("mlflow")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        local = f"sqlite:///{run.path.resolve() / 'mlflow.db'}"
        self._uri = settings.tracking_uri or os.environ.get(URI_VARIABLE) or local
        self._errors = MlflowException
        self._warn = warn
        self._pending: list[list[Any]] = []
        self._is_away = False
        self._sent_at = time.monotonic()
        try:
            self._client = MlflowClient(tracking_uri=self._uri)
            found = kept_id(run.path / ID_FILE, resumed_step=resumed_step)
            self._run_id = found or self._create(run, settings, recipe, is_local=self._uri == local)
            self._client.update_run(self._run_id, status="RUNNING")
            history = self._client.get_metric_history(self._run_id, _LAST_KEY)
        except MlflowException as error:
            raise TrainingError(
                f"mlflow: the run cannot be opened at {self._uri}: {error}; check the server and "
                f"mlflow.tracking_uri, or remove the section"
            ) from error
        super().__init__(max((metric.step for metric in history), default=None))

    @property
    def place(self) -> str:
        """Address of the tracking server, or of the database for `mlflow ui`."""
        return self._uri

    def write(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `StepTracker`."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        last = sorted(scalars, key=_LAST_KEY.__eq__)
        self._pending.append([Metric(_name(key), scalars[key], now_ms, step) for key in last])
        if time.monotonic() - self._sent_at >= FLUSH_INTERVAL_S:
            self._send()

    def finish(self) -> None:
        """See `StepTracker`."""
        self._send()
        if self._pending:
            self._warn(f"mlflow: {len(self._pending):,} steps were not sent to {self._uri}")
            return
        try:
            self._client.set_terminated(self._run_id)
        except self._errors as error:
            self._warn(f"mlflow: the run was not ended at {self._uri}: {error}")

    def _send(self) -> None:
        """Send the pending values; those that cannot be sent stay pending."""
        self._sent_at = time.monotonic()
        try:
            while self._pending:
                steps = _batch(self._pending)
                metrics = [metric for step in self._pending[:steps] for metric in step]
                for start in range(0, len(metrics), _MAX_METRICS):
                    self._client.log_batch(
                        self._run_id, metrics=metrics[start : start + _MAX_METRICS]
                    )
                del self._pending[:steps]
            self._is_away = False
        except self._errors as error:
            if not self._is_away:
                self._warn(f"mlflow: steps wait until {self._uri} takes them: {error}")
            self._is_away = True

    def _create(
        self,
        run: RunFolder,
        settings: MlflowSettings,
        recipe: Mapping[str, Any],
        *,
        is_local: bool,
    ) -> str:
        """Create a run at MLflow with the recipe as parameters; return its id."""
        from mlflow.entities import Param

        client = self._client
        experiment = client.get_experiment_by_name(settings.experiment)
        files = (run.path.resolve() / "mlflow").as_uri() if is_local else None
        experiment_id = (
            client.create_experiment(settings.experiment, artifact_location=files)
            if experiment is None
            else experiment.experiment_id
        )
        created = client.create_run(experiment_id, run_name=run_name(run, settings.name))
        run_id = str(created.info.run_id)
        params = [Param(_name(key), value[:_MAX_VALUE]) for key, value in _flat(recipe, "")]
        for start in range(0, len(params), _MAX_PARAMS):
            client.log_batch(run_id, params=params[start : start + _MAX_PARAMS])
        keep_id(run.path / ID_FILE, run_id)
        return run_id


def _batch(steps: Sequence[Sequence[object]]) -> int:
    """Return how many of the first steps to send at once: at least one."""
    sizes = accumulate(map(len, steps))
    return max(1, sum(1 for _ in takewhile(lambda size: size <= _MAX_METRICS, sizes)))


def _name(key: str) -> str:
    """Return a key as MLflow allows it: `%`, which quotes a byte, becomes `:`."""
    return key.replace("%", ":")


def _flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the values in nested mappings."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{key_of(str(name))}" if path else key_of(str(name)))
    elif path:
        yield path, str(value)
