"""A guarded curve in real processes: killed behind a decision, and on several ranks."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from linly.curriculum.timeline import decisions_in_force
from tests.support.rank_processes import (
    TIMES,
    TRAIN,
    lines_of,
    logs,
    rows_of,
    start,
    start_ranks,
    wait_all,
    without,
)
from tests.support.tiny_world import GUARDED_OVERRIDES, make_tiny_world

pytestmark = pytest.mark.distributed
NUM_STEPS = 16
SETTINGS = (*GUARDED_OVERRIDES, "training.micro_batch=4", "data.producers=1")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS, guarded=True)
    return folder


def arguments(world: Path, name: str, *more: str) -> list[str]:
    return [str(world / "recipe.yaml"), f"run={world / 'runs' / name}", *SETTINGS, *more]


@pytest.fixture(scope="module")
def whole(world: Path) -> Path:
    """An undisturbed run of one process."""
    log = world / "whole.log"
    command = [sys.executable, TRAIN, *arguments(world, "whole")]
    assert wait_all([start(command, log)]) == [0], logs(log)
    assert len(guards_of(world / "runs" / "whole")) >= 2
    return world / "runs" / "whole"


def guards_of(run: Path) -> list[tuple[Any, ...]]:
    """Guard decisions that hold."""
    lines = [
        line for line in decisions_in_force(lines_of(run, "decisions")) if line["kind"] == "guard"
    ]
    return [(line["row"], line["group"], line["before"], line["after"]) for line in lines]


KILLER = """
import os, signal, sys
from pathlib import Path
from linly.config.recipe import load_recipe
from linly.training.ranks.processes import start_processes
from linly.training.loop.trainer import train
from linly.training.loop.training_state import TrainingState

decide = TrainingState.decide

def killed(self, line):
    decide(self, line)
    if line["step"] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

TrainingState.decide = killed
train(load_recipe(Path(sys.argv[2]), sys.argv[3:]), start_processes(), resume_step=None)
"""


def test_kill_9_right_after_a_decision_changes_nothing(world: Path, whole: Path) -> None:
    """Behind the checkpoint of step 7, before that of step 14."""
    step = next(row // 8 for row, *_ in guards_of(whole) if row // 8 > 7)
    run, log = world / "runs" / "killed", world / "killed.log"
    command = [sys.executable, "-c", KILLER, str(step), *arguments(world, "killed")]
    assert wait_all([start(command, log)]) == [-signal.SIGKILL], logs(log)
    assert lines_of(run, "decisions")[-1]["step"] == step
    assert lines_of(run, "metrics")[-1]["step"] == step
    again = [sys.executable, TRAIN, *arguments(world, "killed")]
    assert wait_all([start(again, log)]) == [0], logs(log)
    assert guards_of(run) == guards_of(whole)
    assert rows_of(run) == rows_of(whole)  # losses included, bitwise
    for name in ("metrics", "evaluations"):
        ours, theirs = lines_of(run, name), lines_of(whole, name)
        assert without(ours, *TIMES, "mfu") == without(theirs, *TIMES, "mfu")


def test_decisions_and_rows_are_the_same_at_any_world_size(world: Path, whole: Path) -> None:
    """Two ranks to a step behind a decision, then one.

    Losses differ in their last digits, so the numbers that are compared with the guard's limit do
    too; here none is near it.
    """
    decisions = guards_of(whole)
    step = decisions[1][0] // 8 + 1
    assert step < NUM_STEPS
    run, log = world / "runs" / "both", world / "both.log"
    both = [TRAIN, *arguments(world, "both", f"stop_at_step={step}")]
    assert wait_all(start_ranks(both, 2, log)) == [0, 0], logs(log)
    assert guards_of(run) == decisions[:2]
    command = [sys.executable, TRAIN, *arguments(world, "both")]
    assert wait_all([start(command, log)]) == [0], logs(log)
    assert guards_of(run) == decisions
    free = ("rank", "world_size", "loss")
    assert without(rows_of(run), *free) == without(rows_of(whole), *free)
    assert {row["world_size"] for row in rows_of(run)} == {1, 2}
    first, other = (lines_of(one, "evaluations")[0] for one in (run, whole))
    for key in ("sources", "tasks", "weight_drift"):  # the same weights: equal to the bit
        assert first[key] == other[key]
    assert_drift_of_the_checkpoint(world, run, step)


def assert_drift_of_the_checkpoint(world: Path, run: Path, step: int) -> None:
    """The drift that two ranks recorded is that of the weights which they saved."""
    before = load_file(world / "model" / "model.safetensors")
    moved = size = 0.0
    for file in (run / "checkpoints" / f"step-{step:08d}").glob("*.safetensors"):
        for key, tensor in load_file(file).items():
            if key.startswith("master."):
                stored = before[key.removeprefix("master.")].double()
                moved += float((tensor.double() - stored).square().sum())
                size += float(stored.square().sum())
    line = next(line for line in lines_of(run, "evaluations") if line["step"] == step)
    assert line["weight_drift"]["all"] == pytest.approx((moved / size) ** 0.5, rel=1e-9)
