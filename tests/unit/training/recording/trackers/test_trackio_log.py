"""Trackio gets what TensorBoard gets, each step once, and a resume goes on with its run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from linly.config.sections.tracker_sections import TrackioSettings
from linly.errors import ConfigError
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.open_trackers import add_missing
from linly.training.recording.trackers.scalars import scalars_of
from linly.training.recording.trackers.trackio_log import TrackioLog
from tests.support.trackio_home import use_trackio_home
from tests.unit.training.recording.trackers.test_wandb_log import record

SETTINGS = TrackioSettings(project="mixtures")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder; Trackio's own folder is a new one."""
    use_trackio_home(monkeypatch, tmp_path / "home")
    return RunFolder.create_or_open(tmp_path / "run")


def logged(run: RunFolder, steps: range, *, resumed_step: int = 0) -> None:
    log = TrackioLog(run, SETTINGS, resumed_step=resumed_step, recipe={"name": "small"})
    for step in steps:
        log.add(scalars_of(record(step)), step=step)
        log.add({"tokens_seen": step * 100.0, "bits_per_byte/wiki": 1.5}, step=step)
    log.close()
    assert log.place == "trackio show --project mixtures"


def lines(run_id: str) -> list[dict[str, Any]]:
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage.get_logs("mixtures", run_id=run_id)


def run_ids() -> list[str]:
    import trackio

    return [run.id for run in trackio.Api().runs("mixtures")]


def test_scalars_are_those_of_the_run(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(run, range(1, 4))
    assert (tmp_path / "home").is_dir()
    (run_id,) = run_ids()
    found = lines(run_id)
    assert [line["step"] for line in found] == [1, 2, 3]
    ours = {key for key in found[0] if key not in ("step", "timestamp")}
    assert ours == set(scalars_of(record(1))) | {"bits_per_byte/wiki"}
    assert found[2]["tokens_seen"] == 300
    assert not capsys.readouterr().out


def test_a_resume_writes_no_step_twice(run: RunFolder) -> None:
    logged(run, range(1, 6))
    logged(run, range(3, 8), resumed_step=2)
    (run_id,) = run_ids()
    assert [line["step"] for line in lines(run_id)] == list(range(1, 8))
    logged(run, range(1, 2))
    assert len(run_ids()) == 2


def test_a_resume_adds_the_steps_that_a_killed_run_has_not_sent(run: RunFolder) -> None:
    logged(run, range(1, 4))
    for step in range(1, 8):
        run.append_step(record(step))
    log = TrackioLog(run, SETTINGS, resumed_step=6, recipe={})
    add_missing(log, run, resumed_step=6)
    log.add(scalars_of(record(7)), step=7)
    log.close()
    (run_id,) = run_ids()
    found = lines(run_id)
    assert [line["step"] for line in found] == list(range(1, 8))
    assert [line["tokens_seen"] for line in found] == [100 * step for step in range(1, 8)]


def test_curves_on_another_machine_are_refused(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_SPACE_ID", "org/space")
    with pytest.raises(ConfigError, match=r"TRACKIO_SPACE_ID.*copy the curves with"):
        logged(run, range(1, 2))


def test_without_trackio_the_error_says_what_to_do(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match=r"pip install 'linly\[trackio\]', or remove the section"):
        logged(run, range(1, 2))
