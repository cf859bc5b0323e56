"""However often and wherever a run is interrupted, it ends as one that never was (one process)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from linly.cli.main import main
from linly.config.recipe import load_recipe
from linly.errors import CheckpointError, TrainingError
from linly.runs.runs import RunFolder
from linly.training.checkpoints import checkpoints
from linly.training.checkpoints.manifest import verified
from linly.training.loop.trainer import Outcome, train
from linly.training.ranks.processes import Processes
from tests.support.rank_processes import TIMES, environment, lines_of, rows_of, without
from tests.support.tiny_world import make_tiny_world

NUM_STEPS = 22
WORKER = str(Path(__file__).parent / "killed_save.py")


class Crash(BaseException):
    """Ends a run where nobody expects it."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS)
    return folder


def start(world: Path, alone: Processes, name: str, *overrides: str) -> Outcome:
    run = world / "runs" / name
    recipe = load_recipe(world / "recipe.yaml", [f"run={run}", "data.producers=0", *overrides])
    return train(recipe, alone, resume_step=None)


@pytest.fixture(scope="module")
def undisturbed(world: Path, alone: Processes) -> Path:
    """Saved in the steps themselves, not beside them: this must change nothing either."""
    assert start(world, alone, "undisturbed", "checkpoint.async=false").is_complete
    return world / "runs" / "undisturbed"


@pytest.fixture(scope="module")
def resumed(world: Path, alone: Processes) -> Path:
    """Gone back from step 14 to 7, where it ends."""
    run = world / "runs" / "resumed"
    start(world, alone, "resumed", "stop_at_step=14")
    overrides = [f"run={run}", "data.producers=0", "stop_at_step=7"]
    train(load_recipe(world / "recipe.yaml", overrides), alone, resume_step=7)
    return run


def assert_equal(run: Path, undisturbed: Path) -> None:
    """Rows with their losses, metrics and evaluations, bit by bit, each step once."""
    assert rows_of(run) == rows_of(undisturbed)
    assert [line["step"] for line in lines_of(run, "metrics")] == list(range(1, NUM_STEPS + 1))
    for name in ("metrics", "evaluations"):
        lines, others = lines_of(run, name), lines_of(undisturbed, name)
        assert without(lines, *TIMES) == without(others, *TIMES)
    saved = [line["step"] for line in lines_of(run, "events") if line["kind"] == "checkpoint"]
    assert saved == sorted(set(saved))
    assert saved[-1] == NUM_STEPS


def crash_at(step: int, patch: pytest.MonkeyPatch, *, log: str = "metrics") -> None:
    real = RunFolder.append

    def append(self: RunFolder, name: str, record: Any) -> None:
        real(self, name, record)
        if (name, record["step"]) == (log, step):
            raise Crash

    patch.setattr(RunFolder, "append", append)


def test_one_two_three_and_four_interruptions_change_nothing(
    world: Path, alone: Processes, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any checkpoint, soon after one, in the first step of a resume, in an evaluation."""
    run = world / "runs" / "interrupted"
    for step, log in ((3, "metrics"), (9, "metrics"), (8, "metrics"), (20, "evaluations")):
        with monkeypatch.context() as patch:
            crash_at(step, patch, log=log)
            with pytest.raises(Crash):
                start(world, alone, "interrupted")
    assert start(world, alone, "interrupted").is_complete
    assert_equal(run, undisturbed)


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        (["checkpoints"], "nothing"),
        (["checkpoints/*"], "nothing"),
        (["checkpoints/*", "events.jsonl"], "nothing"),  # its decisions know of a resume
        (["checkpoints/step-*"], "abandoned-step-00000014"),
    ],
)
def test_a_run_whose_checkpoints_are_gone_is_never_begun_again(
    world: Path,
    alone: Processes,
    resumed: Path,
    lost: list[str],
    found: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, shelf = world / "runs" / "gone", world / "shelf"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(resumed, run)
    for path in [path for pattern in lost for path in run.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.read_bytes() for path in run.glob("*.*")}
    place = re.escape(str(shelf / "gone" / "checkpoints"))
    says = rf"name step-00000007, but no .*; found {found}\. .* such as {place},"
    with pytest.raises(CheckpointError, match=says):
        start(world, alone, "gone", f"checkpoint.mirror={shelf}")
    assert {path: path.read_bytes() for path in run.glob("*.*")} == before
    with pytest.raises(SystemExit):
        main(["check", str(world / "recipe.yaml"), f"run={run}"])
    assert f"BAD  records: {run}/checkpoints: the run's records name" in capsys.readouterr().out


def test_sigterm_saves_the_step_it_comes_in_or_the_next(
    world: Path, alone: Processes, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent twice, as launchers do."""
    real = RunFolder.append

    def append(self: RunFolder, name: str, record: Any) -> None:
        real(self, name, record)
        if (name, record["step"]) == ("metrics", 9):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "append", append)
            outcome = start(world, alone, "preempted")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (outcome.is_preempted, outcome.step) == (True, 10)
    run = world / "runs" / "preempted"
    assert verified(run / "checkpoints", None)[1].step == 10
    assert start(world, alone, "preempted").is_complete
    assert rows_of(run) == rows_of(undisturbed)


def test_kill_9_while_a_save_is_under_way_goes_back_to_the_last_whole_one(
    world: Path, alone: Processes, undisturbed: Path
) -> None:
    """Step 14's never gets past half a file, while training goes on to step 17."""
    run = world / "runs" / "killed"
    arguments = [str(world / "recipe.yaml"), f"run={run}", "data.producers=0"]
    killed = subprocess.run(
        [sys.executable, WORKER, "14", "17", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert lines_of(run, "metrics")[-1]["step"] == 17
    names = sorted(os.listdir(run / "checkpoints"))
    assert names == [".step-00000014.partial", "step-00000007"]
    assert start(world, alone, "killed").is_complete
    assert_equal(run, undisturbed)
    assert sorted(os.listdir(run / "checkpoints")) == [
        f"step-{step:08d}" for step in (14, 21, NUM_STEPS)
    ]


def everything_in(run: Path) -> dict[str, bytes]:
    """All files but TensorBoard's, of which each process has its own and writes it later."""
    files = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    return {n: path.read_bytes() for n, path in files.items() if not n.startswith("tensorboard/")}


@pytest.mark.parametrize("moment", ["after step 9", "in the save of step 14"])
def test_a_trainer_whose_lock_was_removed_writes_nothing_beside_the_next_one(
    world: Path,
    alone: Processes,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """The second trains the run to its end while the first is held up."""
    name = moment.replace(" ", "-")
    run = world / "runs" / name
    append, save_file = RunFolder.append, checkpoints.save_file
    left: list[dict[str, bytes]] = []

    def take_over() -> None:
        (run / "lock").unlink()
        command = [sys.executable, "-m", "linly.cli.main", "train", str(world / "recipe.yaml")]
        second = subprocess.run(
            [*command, f"run={run}", "data.producers=0"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert second.returncode == 0, second.stderr
        left.append(everything_in(run))

    def after_a_step(self: RunFolder, log: str, record: Any) -> None:
        append(self, log, record)
        if (log, record["step"]) == ("metrics", 9) and "9" in moment and not left:
            take_over()

    def in_a_save(tensors: Any, path: Path) -> None:
        if "step-00000014" in str(path) and "14" in moment and not left:
            take_over()
            path.parent.mkdir()
        save_file(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", after_a_step)
        patch.setattr(checkpoints, "save_file", in_a_save)
        with pytest.raises(TrainingError, match=r"lock was replaced while .* has stopped writing"):
            start(world, alone, name, "checkpoint.async=false")
    left_over = {path for path in everything_in(run) if ".partial/" in path}
    assert {path: data for path, data in everything_in(run).items() if path not in left_over} == (
        left[0]
    )
    assert_equal(run, undisturbed)


def test_a_save_that_fails_beside_training_ends_the_run(
    world: Path, alone: Processes, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoints.save_file

    def torn(tensors: Any, path: Path) -> None:
        if "step-00000014" in str(path):
            raise OSError(5, "Input/output error")
        real(tensors, path)

    run = world / "runs" / "lost"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", torn)
        with pytest.raises(CheckpointError, match=r"step-00000014.*Input/output error"):
            start(world, alone, "lost")
    assert lines_of(run, "metrics")[-1]["step"] < NUM_STEPS
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000007"]
    assert start(world, alone, "lost").is_complete
    assert_equal(run, undisturbed)


def test_an_error_of_training_lets_the_save_under_way_become_whole(
    world: Path, alone: Processes, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at(8, patch)
        with pytest.raises(Crash):
            start(world, alone, "ended")
    assert os.listdir(world / "runs" / "ended" / "checkpoints") == ["step-00000007"]


def test_a_run_whose_checkpoint_would_not_fit_does_not_begin(
    world: Path, alone: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(world)._replace(free=64 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"needs 68,.* bytes, but only 67,108,864 are free"):
        start(world, alone, "full", "evaluation.every=1000")
    assert not lines_of(world / "runs" / "full", "metrics")


def test_a_checkpoint_takes_the_disk_that_the_plan_says(
    world: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 bytes a weight, and what does not grow with the model."""
    with pytest.raises(SystemExit):
        main(["plan", str(world / "recipe.yaml"), "--without-data", "--json"])
    planned = orjson.loads(capsys.readouterr().out)["costs"]["checkpoint_bytes"]
    for folder in (undisturbed / "checkpoints").iterdir():
        found = sum(file.stat().st_size for file in folder.iterdir())
        assert 0 < found - planned < 64 << 10
