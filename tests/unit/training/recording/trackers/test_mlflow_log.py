"""MLflow gets what TensorBoard gets, each step once, and a resume goes on with its run."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from linly.config.sections.tracker_sections import MlflowSettings
from linly.errors import ConfigError, TrainingError
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.mlflow_log import MlflowLog
from linly.training.recording.trackers.scalars import scalars_of
from tests.unit.training.recording.trackers.test_wandb_log import record

mlflow = pytest.importorskip("mlflow", reason="needs linly[mlflow]")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database for all tests: MLflow takes seconds to create one."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/all.db"


def opened(run: RunFolder, uri: str | None, *, resumed_step: int = 0) -> MlflowLog:
    recipe = {"name": "small", "training": {"lr": 1e-4}, "corpora": {"语 料": {"paths": ["a"]}}}
    settings = MlflowSettings(experiment="mixtures", tracking_uri=uri)
    shown: list[str] = []
    log = MlflowLog(run, settings, resumed_step=resumed_step, recipe=recipe, warn=shown.append)
    log.shown = shown  # type: ignore[attr-defined]
    return log


def logged(run: RunFolder, uri: str | None, steps: range, *, resumed_step: int = 0) -> MlflowLog:
    log = opened(run, uri, resumed_step=resumed_step)
    for step in steps:
        log.add(scalars_of(record(step)), step=step)
        log.add({"tokens_seen": step * 100.0, "bits_per_byte/wiki": 1.5}, step=step)
    log.close()
    return log


def runs(uri: str, run: RunFolder) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mixtures")
    found = client.search_runs([experiment.experiment_id])
    return [one for one in found if one.info.run_name == run.path.name]


def steps_of(uri: str, run_id: str, key: str) -> list[int]:
    return [m.step for m in mlflow.MlflowClient(uri).get_metric_history(run_id, key)]


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> RunFolder:
    return RunFolder.create_or_open(tmp_path / request.node.name)


def test_scalars_and_recipe_are_those_of_the_run(run: RunFolder, database: str) -> None:
    log = logged(run, database, range(1, 4))
    assert log.place == database
    (found,) = runs(database, run)
    expected = {key.replace("%", ":") for key in scalars_of(record(1))} | {"bits_per_byte/wiki"}
    assert set(found.data.metrics) == expected
    assert found.data.params["training.lr"] == "0.0001"
    assert found.data.params["corpora.语:20料.paths"] == "['a']"
    assert found.info.status == "FINISHED"
    assert steps_of(database, found.info.run_id, "loss/wiki") == [1, 2, 3]
    assert steps_of(database, found.info.run_id, "bits_per_byte/wiki") == [1, 2, 3]
    assert not log.shown  # type: ignore[attr-defined]


def test_a_resume_writes_no_step_twice(run: RunFolder, database: str) -> None:
    logged(run, database, range(1, 6))
    logged(run, database, range(3, 8), resumed_step=2)
    (found,) = runs(database, run)
    for key in ("loss/wiki", "bits_per_byte/wiki", "tokens_seen"):
        counted = Counter(steps_of(database, found.info.run_id, key))
        assert counted == Counter(range(1, 8))
    logged(run, database, range(1, 2))
    assert len(runs(database, run)) == 2


def test_steps_wait_while_a_server_is_away(
    run: RunFolder, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(run, database)
    client = mlflow.MlflowClient
    send = client.log_batch

    def refuse(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("no answer")

    monkeypatch.setattr("linly.training.recording.trackers.mlflow_log.FLUSH_INTERVAL_S", 0.0)
    monkeypatch.setattr(client, "log_batch", refuse)
    for step in range(1, 4):
        log.add(scalars_of(record(step)), step=step)
    (shown,) = log.shown  # type: ignore[attr-defined]
    assert f"steps wait until {database} takes them: no answer" in shown
    monkeypatch.setattr(client, "log_batch", send)
    log.close()
    (found,) = runs(database, run)
    assert steps_of(database, found.info.run_id, "loss/wiki") == [1, 2, 3]


def test_without_mlflow_the_error_says_what_to_do(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'linly\[mlflow\]', or remove the section"):
        opened(run, None)


def test_an_address_without_a_server_is_an_error(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrainingError, match=r"cannot be opened at http://127\.0\.0\.1:9"):
        opened(run, "http://127.0.0.1:9")
