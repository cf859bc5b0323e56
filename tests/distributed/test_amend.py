"""An amended run in real processes: killed, and resumed at another world size."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.curriculum.timeline import fold
from linly.data.mixing.stream_plan import make_mixer, stream_plan
from linly.runs.runs import RunFolder
from linly.training.changes.pinned_inputs import read_later_lists, read_shards
from tests.support.prepared import run_prepared
from tests.support.rank_processes import (
    TRAIN,
    environment,
    logs,
    rows_of,
    start_ranks,
    wait_all,
    wait_for_step,
)
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
NUM_STEPS, ROWS = 30, 8


def test_an_amended_run_that_is_killed_goes_on_exactly_at_another_world_size(
    tmp_path: Path,
) -> None:
    """Killed at a random step after the amendment; two ranks before, one after."""
    recipe = make_tiny_world(tmp_path, num_steps=NUM_STEPS)
    run, log = tmp_path / "runs" / "tiny", tmp_path / "amended.log"
    assert wait_all(start_ranks([TRAIN, str(recipe), "stop_at_step=7"], 2, log)) == [0, 0], logs(
        log
    )
    before = rows_of(run)
    new = tmp_path / "new.yaml"
    text = (tmp_path / "curriculum.yaml").read_text()
    new.write_text(text.replace("from: 80%, to: 20%", "from: 30%, to: 70%"))
    command = ("-m", "linly", "amend", str(run), str(new))
    run_prepared(*command, folder=tmp_path, environment=environment()).check_returncode()
    ranks = start_ranks([TRAIN, str(recipe)], 2, log)
    wait_for_step(run, 7 + random.SystemRandom().randint(1, NUM_STEPS - 8))
    for process in ranks:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert wait_all(start_ranks([TRAIN, str(recipe)], 1, log)) == [0], logs(log)
    rows = rows_of(run)
    assert rows[: 7 * ROWS] == before
    assert [(row["row"], row["source"], row["documents"]) for row in rows] == replayed(run)
    assert "an amendment has replaced the recipe's curriculum" in logs(log)


def replayed(run: Path) -> list[tuple[object, ...]]:
    """The run's order of rows, from its first row on, by what it has fixed and decided."""
    folder = RunFolder.open(run)
    timeline = fold(folder.read("decisions"))
    assert [phase.from_row for phase in timeline.phases] == [0, 7 * ROWS]
    shards, later = read_shards(folder, timeline.sources), read_later_lists(folder, timeline)
    recipe = load_recipe(run / "recipe.yaml")
    plan = stream_plan(recipe, run / "model", shards, timeline, later)
    return [
        (
            mixed.index,
            mixed.row.source,
            [
                {"shard": p.shard, "record": p.record, "start": p.start, "end": p.end}
                for p in mixed.row.spans
            ],
        )
        for mixed in make_mixer(plan, plan.new_state())
    ]
