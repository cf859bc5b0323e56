"""A run over damaged shards: what is left out is in the ledger and among the decisions, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from linly.config.recipe import load_recipe
from linly.curriculum.timeline import decisions_in_force, fold
from linly.errors import DamagedShardError
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

NUM_STEPS = 12
NUM_DAMAGED = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world, with a small English corpus that has empty shards among its whole ones."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS)
    english = folder / "data" / "english"
    for shard in sorted(english.iterdir()):
        shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[:45]))
    for index in range(NUM_DAMAGED):
        (english / f"damaged-{index}.jsonl").write_bytes(b"")
    return folder


def start(world: Path, alone: Processes, *overrides: str, step: int | None = None) -> Path:
    run = world / "runs" / "tiny"
    policy = "corpora.english.damaged_shards=quarantine"
    recipe = load_recipe(
        world / "recipe.yaml", [f"run={run}", "data.producers=0", policy, *overrides]
    )
    train(recipe, alone, resume_step=step)
    return run


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{name}.jsonl").read_bytes().splitlines()]


def records(run: Path) -> list[object]:
    tables = [pq.read_table(part) for part in sorted((run / "rows").glob("*.parquet"))]
    return [row for table in tables for row in table.select(["row", "documents"]).to_pylist()]


def places(decisions: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [(d["step"], d["row"], d["source"], d["shard"], d["record"]) for d in decisions]


def test_damage_is_a_decision_without_a_phase_and_found_again_by_a_resume(
    world: Path, alone: Processes
) -> None:
    with pytest.raises(DamagedShardError, match="damaged_shards: quarantine"):
        start(world, alone, "corpora.english.damaged_shards=error")
    run = start(world, alone)
    ledger = [
        line for line in lines(run, "quarantine") if "the rest of the shard" in line["reason"]
    ]
    shards = [line for line in lines(run, "decisions") if line["kind"] == "shard"]
    assert 2 <= len(shards) <= NUM_DAMAGED
    assert places(shards) == places(ledger)
    assert {line["source"] for line in shards} == {"english"}
    assert len(fold(lines(run, "decisions")).phases) == 1
    undisturbed = records(run)
    assert any(line["step"] > 7 for line in shards), "the resume must meet some of them again"
    start(world, alone, step=7)
    assert records(run) == undisturbed
    decisions = lines(run, "decisions")
    assert len([line for line in decisions if line["kind"] == "shard"]) > len(shards)
    held = [line for line in decisions_in_force(decisions) if line["kind"] == "shard"]
    assert places(held) == places(shards)
