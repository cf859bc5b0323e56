"""A run whose guard acts: English is forgotten, its share raised, and lowered when it is back."""

from __future__ import annotations

import os
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from linly.config.recipe import load_recipe
from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.timeline import Decision, decisions_in_force, fold
from linly.data.loading.loader import Loader, StepBatch
from linly.errors import ConfigError
from linly.monitor.history.history import read_history
from linly.monitor.history.recount import recount
from linly.training.loop.trainer import train
from linly.training.loop.training_state import TrainingState
from linly.training.ranks.processes import Processes
from tests.support.rank_processes import TIMES, lines_of, rows_of, without
from tests.support.tiny_world import GUARDED_OVERRIDES, make_tiny_world

NUM_STEPS = 16
ROWS = 8
"""Of a step."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS, guarded=True)
    return folder


def start(
    world: Path, alone: Processes, name: str, *overrides: str, step: int | None = None
) -> Path:
    run = world / "runs" / name
    settings = [f"run={run}", "data.producers=0", *GUARDED_OVERRIDES, *overrides]
    train(load_recipe(world / "recipe.yaml", settings), alone, resume_step=step, is_quiet=True)
    return run


@pytest.fixture(scope="module")
def whole(world: Path, alone: Processes) -> Path:
    """An undisturbed run, with checkpoints at 7, 14 and the end."""
    return start(world, alone, "whole")


def guards_of(run: Path) -> list[dict[str, Any]]:
    """Its guard decisions that hold."""
    lines = [
        line for line in decisions_in_force(lines_of(run, "decisions")) if line["kind"] == "guard"
    ]
    return without([dict(line) for line in lines], "time")


def assert_same(run: Path, other: Path) -> None:
    """Rows with their losses, metrics, evaluations and decisions, bitwise."""
    assert rows_of(run) == rows_of(other)
    for name in ("metrics", "evaluations"):
        mine, theirs = lines_of(run, name), lines_of(other, name)
        assert without(mine, *TIMES, "mfu") == without(theirs, *TIMES, "mfu")
    assert guards_of(run) == guards_of(other)
    assert recount(read_history(run)).agrees


def test_a_guard_raises_what_is_forgotten_and_lowers_it_when_it_is_back(whole: Path) -> None:
    evaluations = {line["step"]: line["sources"] for line in lines_of(whole, "evaluations")}
    allowed = evaluations[0]["english"]["bits_per_byte"] * 1.03
    level, levels = 0, {}
    for step in range(2, NUM_STEPS, 2):
        is_above = evaluations[step]["english"]["bits_per_byte"] > allowed
        level = min(level + 1, 2) if is_above else max(level - 1, 0)
        levels[step] = level
    assert max(levels.values()) == 2  # it was forgotten ...
    assert levels[NUM_STEPS - 2] < 2  # ... and came back
    decisions = guards_of(whole)
    changes = [(step, levels.get(step - 2, 0), levels[step]) for step in levels]
    assert [(line["step"], line["before"], line["after"]) for line in decisions] == [
        change for change in changes if change[1] != change[2]
    ]
    for line in decisions:
        assert line["row"] == line["step"] * ROWS
        assert line["bits_per_byte"] == evaluations[line["step"]]["english"]["bits_per_byte"]
        assert line["baseline"] == evaluations[0]["english"]["bits_per_byte"]


def test_the_rows_follow_each_decision_at_once(whole: Path) -> None:
    rows, metrics = rows_of(whole), lines_of(whole, "metrics")
    decisions = guards_of(whole)
    for line in decisions:
        step = line["step"]
        before, after = metrics[step - 1], metrics[step]  # the step before it, and behind it
        moved = (
            after["target_share_by_source"]["english"] - before["target_share_by_source"]["english"]
        )
        assert abs(moved) > 0.2
        assert (moved > 0) == (line["after"] > line["before"])
    phases = [0, *(line["row"] for line in decisions), len(rows)]
    shares = [
        sum(row["source"] == "english" for row in rows[first:last]) / (last - first)
        for first, last in pairwise(phases)
    ]
    assert shares[0] < 0.2
    top = max(range(len(decisions)), key=lambda index: decisions[index]["after"])
    assert shares[top + 1] == pytest.approx(0.75, abs=0.07)  # the cap, to the row
    assert shares[-1] < 0.6


def test_rows_are_those_of_the_decision_log(whole: Path) -> None:
    """Whoever folds the log has the order; drift stays within its bound, tuned keeps its share."""
    timeline = fold(lines_of(whole, "decisions"))
    assert [phase.from_row for phase in timeline.phases] == [
        0, *(line["row"] for line in guards_of(whole))
    ]  # fmt: skip
    rows = rows_of(whole)
    assert [row["source"] for row in rows] == list(Apportioner(timeline.phases))
    for metrics in lines_of(whole, "metrics"):
        assert max(map(abs, metrics["drift_rows_by_source"].values())) <= 0.75 + 1e-6
        assert metrics["target_share_by_source"]["tuned"] == pytest.approx(0.2)
    assert recount(read_history(whole)).agrees


def test_decisions_are_events_that_say_why(whole: Path) -> None:
    events = [line for line in lines_of(whole, "events") if line["kind"] == "guard"]
    assert {line["step"] for line in guards_of(whole)} <= {event["step"] for event in events}
    assert events[0]["text"].startswith("english raised to step 1 of 2 towards 75%: english at ")
    assert events[0]["text"].endswith("since the start, allowed 3%")


def test_going_back_voids_decisions_and_takes_them_again(
    whole: Path, world: Path, alone: Processes
) -> None:
    """With rows made far ahead of each decision in another process, which are thrown away."""
    run = world / "runs" / "back"
    shutil.copytree(whole, run)
    start(world, alone, "back", "data.producers=1", "data.prefetch_rows=512", step=7)
    assert len([line for line in lines_of(run, "decisions") if line["kind"] == "guard"]) > len(
        guards_of(run)
    )
    assert_same(run, whole)
    notices = [line["text"] for line in lines_of(run, "events") if line["kind"] == "notice"]
    assert "english is raised by its guard: step 1 of 2 towards 75%" in notices


class _Crash(Exception):
    pass


def test_a_decision_taken_twice_at_a_checkpoint_counts_once(
    whole: Path, world: Path, alone: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SIGTERM leaves a checkpoint at a step that was not evaluated.

    The next start evaluates it and decides; here it dies then, and the one after does so again.
    """
    line = guards_of(whole)[0]
    step = line["step"]
    with monkeypatch.context() as patch:
        next_step = Loader.next_step

        def stopped(self: Loader, phases: tuple[Phase, ...]) -> StepBatch | None:
            batch = next_step(self, phases)
            if batch is not None and batch.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return batch

        patch.setattr(Loader, "next_step", stopped)
        run = start(world, alone, "preempted")
    assert lines_of(run, "metrics")[-1]["step"] == step
    assert guards_of(run) == []
    with monkeypatch.context() as patch:
        decide = TrainingState.decide

        def crashed(self: TrainingState, line: Decision) -> None:
            decide(self, line)
            raise _Crash

        patch.setattr(TrainingState, "decide", crashed)
        with pytest.raises(_Crash):
            start(world, alone, "preempted")
    assert guards_of(run) == [line]
    assert_same(start(world, alone, "preempted"), whole)


def test_an_evaluation_only_because_a_start_ends_there_decides_nothing(
    whole: Path, world: Path, alone: Processes
) -> None:
    """Where a run is stopped must not change what it becomes."""
    step = guards_of(whole)[0]["step"] + 1
    run = start(world, alone, "stopped", f"stop_at_step={step}")
    assert lines_of(run, "evaluations")[-1]["step"] == step
    assert guards_of(run) == guards_of(whole)[:1]


TASK_GUARD = (
    "curriculum.mixture.english.ratio={curve: linear, from: 15%, to: 5%, "
    "guard: {task: icl, max_drop: 0%, cap: 75%, steps: 2}}",
    "evaluation.tasks=[{name: icl, shots: 2, limit: 48}]",
)


@pytest.fixture(scope="module")
def by_task(world: Path, alone: Processes) -> Path:
    """An undisturbed run whose guard watches the in-context probe, every four steps."""
    return start(world, alone, "by-task", *TASK_GUARD)


def test_a_guard_on_a_task_decides_at_the_evaluations_of_the_tasks(by_task: Path) -> None:
    tasks = {line["step"]: line["tasks"] for line in lines_of(by_task, "evaluations")}
    assert [step for step, found in tasks.items() if found] == [0, 4, 8, 12, 16]
    level, expected = 0, []
    for step in (4, 8, 12):
        is_worse = tasks[step]["icl"]["accuracy"] < tasks[0]["icl"]["accuracy"]
        before, level = level, min(level + 1, 2) if is_worse else max(level - 1, 0)
        if level != before:
            expected.append((step, before, level))
    assert expected
    decisions = guards_of(by_task)
    assert [(line["step"], line["before"], line["after"]) for line in decisions] == expected
    assert {(line["task"], line["figure"]) for line in decisions} == {("icl", "accuracy")}
    shown = [event.text for event in read_history(by_task).decisions if event.kind == "guard"]
    assert "icl" in shown[0] and "accuracy since step 0" in shown[0]


def test_a_resume_takes_the_same_decisions_by_tasks(
    by_task: Path, world: Path, alone: Processes
) -> None:
    run = world / "runs" / "by-task-back"
    shutil.copytree(by_task, run)
    start(world, alone, "by-task-back", *TASK_GUARD, step=7)
    assert_same(run, by_task)


def test_a_resume_without_the_task_of_a_guard_is_refused(world: Path, alone: Processes) -> None:
    with pytest.raises(ConfigError, match=r"unknown task of evaluation\.tasks 'icl'"):
        start(world, alone, "refused", *TASK_GUARD, "evaluation.tasks=[]")
