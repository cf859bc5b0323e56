"""A guarded curve on several ranks: all decide the same, and another world size goes on alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from guarded_world import NUM_STEPS, OVERRIDES, make_guarded_world
from rank_processes import TRAIN, lines_of, logs, rows_of, start, start_ranks, wait_all, without

from linly.data.decisions import standing

pytestmark = pytest.mark.distributed


def guards_of(run: Path) -> list[tuple[Any, ...]]:
    lines = [line for line in standing(lines_of(run, "decisions")) if line["kind"] == "guard"]
    return [(line["row"], line["group"], line["before"], line["after"]) for line in lines]


def test_decisions_and_rows_are_the_same_at_any_world_size(tmp_path: Path) -> None:
    """Two ranks to a step behind a decision, then one; against one throughout.

    Losses differ in their last digits, so the numbers that are compared with the guard's limit do
    too; here none is near it.
    """
    recipe = make_guarded_world(tmp_path)
    settings = [*OVERRIDES, "training.micro_batch=4", "data.producers=1"]
    one, both = tmp_path / "runs" / "one", tmp_path / "runs" / "both"
    alone = [TRAIN, str(recipe), *settings]
    log = tmp_path / "one.log"
    assert wait_all([start([sys.executable, *alone, f"run={one}"], log)]) == [0], logs(log)
    decisions = guards_of(one)
    middle = decisions[1][0] // 8 + 1
    assert len(decisions) >= 3 and middle < NUM_STEPS
    log = tmp_path / "both.log"
    codes = wait_all(start_ranks([*alone, f"run={both}", f"stop_at_step={middle}"], 2, log))
    assert codes == [0, 0], logs(log)
    assert guards_of(both) == decisions[:2]
    assert wait_all([start([sys.executable, *alone, f"run={both}"], log)]) == [0], logs(log)
    assert guards_of(both) == decisions
    free = ("rank", "world_size", "loss")
    assert without(rows_of(both), *free) == without(rows_of(one), *free)
    assert {row["world_size"] for row in rows_of(both)} == {1, 2}
