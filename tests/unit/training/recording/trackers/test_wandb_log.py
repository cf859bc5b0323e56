"""Weights & Biases gets what TensorBoard gets, over tokens, and a resume goes on with its run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from linly.config.sections.tracker_sections import WandbSettings
from linly.errors import ConfigError, TrainingError
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.scalars import scalars_of
from linly.training.recording.trackers.wandb_log import WandbLog
from tests.support.wandb_file import read_history, read_run_id, read_x_axes

OFFLINE = WandbSettings(project="mixtures", mode="offline")
HOSTILE = "</script><img src=x>/target"


def record(step: int) -> StepRecord:
    return StepRecord(
        step=step,
        tokens_seen=step * 100,
        loss=2.0,
        loss_by_source={"wiki": 2.0, HOSTILE: 3.0},
        lr=1e-4,
        grad_norm=1.5,
        tokens_per_second=1000.0,
        data_wait_fraction=0.01,
        target_share_by_source={"wiki": 0.75, HOSTILE: 0.25},
        realized_share_by_source={"wiki": 0.5, HOSTILE: 0.5},
        rows_by_source={"wiki": 3, HOSTILE: 1},
        padding_by_source={"wiki": 0, HOSTILE: 0},
        drift_rows_by_source={"wiki": -0.75, HOSTILE: 0.75},
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # it keeps settings and caches there
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(name, raising=False)
    folder = RunFolder.create_or_open(tmp_path / "run")
    yield folder
    folder.close()


def logged(run: RunFolder, steps: range, *, resumed_step: int = 0) -> None:
    log = WandbLog(run, OFFLINE, resumed_step=resumed_step, recipe={"name": "small"})
    for step in steps:
        log.add(scalars_of(record(step)), step=step)
    log.close()


def files(run: RunFolder) -> list[Path]:
    found = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def test_keys_and_axis_are_those_of_the_run(run: RunFolder) -> None:
    logged(run, range(1, 4))
    (file,) = files(run)
    lines = read_history(file)
    assert [line["_step"] for line in lines] == [1, 2, 3]
    assert [line["tokens_seen"] for line in lines] == [100, 200, 300]
    ours = {key for key in lines[0] if not key.startswith("_")}
    assert ours == set(scalars_of(record(1)))
    assert {"share/wiki/target", "share/wiki/realized", "loss/wiki"} <= ours
    assert all(key.count("/") <= 2 and "<" not in key for key in ours)
    assert read_x_axes(file) == {"*": "tokens_seen"}


def test_a_resume_goes_on_under_the_same_id_and_a_fresh_start_does_not(run: RunFolder) -> None:
    logged(run, range(1, 4))
    kept = orjson.loads((run.path / "wandb.json").read_bytes())["id"]
    logged(run, range(3, 6), resumed_step=2)
    first, second = files(run)
    assert read_run_id(first) == read_run_id(second) == kept
    assert [line["_step"] for line in read_history(second)] == [3, 4, 5]
    logged(run, range(1, 2))
    assert read_run_id(files(run)[-1]) != kept


def test_an_evaluation_joins_its_step(run: RunFolder) -> None:
    log = WandbLog(run, OFFLINE, resumed_step=0, recipe={})
    log.add({"tokens_seen": 0.0, "bits_per_byte/wiki": 2.0}, step=0)
    log.add({"tokens_seen": 10.0, "loss": 1.0}, step=1)
    log.add({"tokens_seen": 10.0, "bits_per_byte/wiki": 1.5}, step=1)
    log.close()
    lines = read_history(files(run)[0])
    assert [line.get("bits_per_byte/wiki") for line in lines] == [2.0, 1.5]
    assert lines[1]["loss"] == 1.0


def test_without_wandb_the_error_says_what_to_do(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"pip install 'linly\[wandb\]', or remove the section"):
        WandbLog(run, OFFLINE, resumed_step=0, recipe={})


def test_an_id_that_cannot_be_read_is_named(run: RunFolder) -> None:
    (run.path / "wandb.json").write_text("[]")
    with pytest.raises(TrainingError, match=r"wandb\.json.*to continue with a new id"):
        WandbLog(run, OFFLINE, resumed_step=3, recipe={})
