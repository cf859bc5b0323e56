"""A real run, stopped and resumed: every tracker holds what its logs say, each step once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from linly.config.recipe import load_recipe
from linly.monitor.history.history import read_history as read_run
from linly.monitor.history.recount import recount, recount_text
from linly.records.evaluation_record import (
    EvaluationRecord,
    LanguageEvaluation,
    SourceEvaluation,
)
from linly.records.metrics import metrics_of
from linly.records.step_record import StepRecord
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world
from tests.support.trackio_home import use_trackio_home
from tests.support.wandb_file import read_history, read_run_id

MlflowClient = pytest.importorskip("mlflow", reason="needs linly[mlflow]").MlflowClient
trackio = pytest.importorskip("trackio", reason="needs linly[trackio]")
SQLiteStorage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, alone: Processes) -> Iterator[Path]:
    """Steps 1 to 5 (a checkpoint at 4), and once more from 4 to the end at 8."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=8)
    overrides = [
        "data.producers=0", "checkpoint.every=4", "evaluation.every=4", "evaluation.prompts=[]",
        "evaluation.tasks=[{name: icl, shots: 2, limit: 8}]",
        "wandb.project=tests", "wandb.mode=offline", "wandb.name=small",
        "mlflow.experiment=tests", "trackio.project=tests", "alarms.command=[mail, hush-4711]",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))  # wandb keeps settings and caches there
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        use_trackio_home(patch, folder / "trackio")
        first = load_recipe(folder / "recipe.yaml", [*overrides, "stop_at_step=5"])
        train(first, alone, resume_step=None)
        train(load_recipe(folder / "recipe.yaml", overrides), alone, resume_step=4)
        yield first.run


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{name}.jsonl").read_bytes().splitlines()]


def wandb_files(run: Path) -> list[Path]:
    found = (run / "wandb").glob("offline-run-*/run-*.wandb")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def test_both_starts_belong_to_one_run_there(run: Path) -> None:
    first, second = wandb_files(run)
    kept = orjson.loads((run / "wandb.json").read_bytes())["id"]
    assert read_run_id(first) == read_run_id(second) == kept
    assert [line["_step"] for line in read_history(first)] == [0, 1, 2, 3, 4, 5]
    assert [line["_step"] for line in read_history(second)] == [5, 6, 7, 8]


def test_what_is_plotted_is_what_the_logs_say(run: Path) -> None:
    plotted = {line["_step"]: line for file in wandb_files(run) for line in read_history(file)}
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    for metrics in lines(run, "metrics"):
        line = plotted[metrics["step"]]
        assert line["tokens_seen"] == metrics["tokens_seen"]
        assert line["loss"] == pytest.approx(metrics["loss"])
        for source, share in metrics["target_share_by_source"].items():
            assert line[f"share/{source}/target"] == pytest.approx(share)
        for source, share in metrics["realized_share_by_source"].items():
            assert line[f"share/{source}/realized"] == pytest.approx(share)
        for source, loss in metrics["loss_by_source"].items():
            assert line.get(f"loss/{source}") == pytest.approx(loss)
    for record in lines(run, "evaluations"):
        for source, found in record["sources"].items():
            bits = plotted[record["step"]][f"bits_per_byte/{source}"]
            assert bits == pytest.approx(found["bits_per_byte"])
        fixed = plotted[record["step"]]["held_out_loss_at_fixed_shares"]
        assert fixed == pytest.approx(record["loss_at_fixed_shares"])
    tags = {key for line in plotted.values() for key in line if not key.startswith("_")}
    assert tags == set(board.Tags()["scalars"])
    for tag in tags:
        values = {event.step: event.value for event in board.Scalars(tag)}
        assert values == pytest.approx(
            {step: line[tag] for step, line in plotted.items() if tag in line}, rel=1e-5
        )


def mlflow_points(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of each scalar that MLflow has."""
    client = MlflowClient(f"sqlite:///{run}/mlflow.db")
    experiment = client.get_experiment_by_name("tests")
    (found,) = client.search_runs([experiment.experiment_id])
    run_id = found.info.run_id
    return {
        key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
        for key in found.data.metrics
    }


def trackio_points(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of each scalar that Trackio has."""
    (found,) = trackio.Api().runs("tests")
    points: dict[str, list[tuple[int, float]]] = {}
    for line in SQLiteStorage.get_logs("tests", run_id=found.id):
        for key in line.keys() - {"step", "timestamp"}:
            points.setdefault(key, []).append((line["step"], line[key]))
    return points


@pytest.mark.parametrize("points_of", [mlflow_points, trackio_points])
def test_each_point_is_there_once(
    run: Path, points_of: Callable[[Path], dict[str, list[tuple[int, float]]]]
) -> None:
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    points = points_of(run)
    assert set(points) == {tag.replace("%", ":") for tag in board.Tags()["scalars"]}
    for tag, found in points.items():
        values = {event.step: event.value for event in board.Scalars(tag)}
        steps = [step for step, _ in found]
        assert len(steps) == len(set(steps))
        assert {*steps} - values.keys() <= {5}  # evaluated where the first start stopped
        if tag in ("tokens_per_second", "data_wait_fraction"):
            del values[5]  # taken twice, with other times
        kept = {step: value for step, value in found if step in values}
        assert kept == pytest.approx(values, rel=1e-5)


def test_no_tracker_gets_commands_and_addresses(run: Path) -> None:
    files = [*(run / "wandb").rglob("*.wandb"), run / "mlflow.db"]
    files += (run.parents[1] / "trackio").rglob("*")
    data = b"".join(path.read_bytes() for path in files if path.is_file())
    assert b"checkpoint" in data
    assert b"hush-4711" not in data


def test_a_run_writes_every_metric(run: Path) -> None:
    unknown = {"mfu"}  # the peak of a CPU
    for record, log in ((StepRecord, "metrics"), (EvaluationRecord, "evaluations")):
        stored = metrics_of(record).keys() - record.DERIVED.keys()
        for line in lines(run, log):
            assert {key for key in stored if line[key] is None} <= unknown
    for line in lines(run, "evaluations"):
        for key in ("accuracy", "bits_per_answer", "copy_gain"):
            assert line["tasks"]["icl"][key] is not None
        assert (line["weight_drift"]["layer-1"] > 0) == (line["step"] > 0)
        for nested, record in (("sources", SourceEvaluation), ("languages", LanguageEvaluation)):
            for found in line[nested].values():
                assert metrics_of(record).keys() <= {
                    key for key, value in found.items() if value is not None
                }


def test_what_wandb_keeps_of_the_run_lies_in_its_folder(run: Path) -> None:
    home = run.parents[1] / "home"
    assert not [path for path in home.rglob("*.wandb")]
    assert not [path for path in (run / "wandb").rglob("diff.patch")]


def test_the_counters_after_the_resume_are_those_of_the_rows(run: Path) -> None:
    recounted = recount(read_run(run))
    assert recounted.agrees, recount_text(recounted)
    assert recounted.num_rows == 8 * 8
