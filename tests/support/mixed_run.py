"""A run folder whose rows were really made of tiny corpora, and recorded, without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson

from linly.config.recipe import load_recipe
from linly.curriculum.timeline import start_decision
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.stream_plan import make_mixer, stream_plan
from linly.records.row_record import RowRecord
from linly.runs.runs import RunFolder
from tests.support.worlds import shards_of

WORLD_SIZE = 2


def write_mixed_run(
    recipe_path: Path,
    tokenizer_path: Path,
    path: Path,
    *,
    num_steps: int = 4,
    loss: Callable[[MixedRow], float | None] = lambda mixed: 1.0 + mixed.index % 12 / 100,
) -> list[MixedRow]:
    """Record the first steps of a recipe as the trainer does; returns their rows."""
    recipe = load_recipe(recipe_path)
    shards = shards_of(recipe)
    run = RunFolder.create_or_open(path)
    run.append("decisions", start_decision(recipe))
    (path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    for folder in ("shards", "model"):
        (path / folder).mkdir()
    for name, listed in shards.items():
        lines = ({"path": shard.path, "size_bytes": shard.size_bytes} for shard in listed)
        text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        (path / "shards" / f"{name}.jsonl").write_bytes(text)
    (path / "model" / "tokenizer.model").write_bytes(tokenizer_path.read_bytes())
    plan = stream_plan(recipe, tokenizer_path, shards)
    mixer = make_mixer(plan, plan.new_state())
    per_step = recipe.data.global_batch
    rows = [next(mixer) for _ in range(num_steps * per_step)]
    mixer.close()
    run.write_rows([_record(mixed, per_step, loss(mixed)) for mixed in rows])
    for step in range(1, num_steps + 1):
        run.append("metrics", {"step": step, "loss_by_source": {}, "skipped": False})
    run.close()
    return rows


def _record(mixed: MixedRow, per_step: int, loss: float | None) -> RowRecord:
    return RowRecord(
        row=mixed.index,
        step=mixed.index // per_step + 1,
        rank=mixed.index % per_step // (per_step // WORLD_SIZE),
        world_size=WORLD_SIZE,
        source=mixed.row.source,
        epoch=mixed.row.epoch,
        supervised_tokens=mixed.row.num_supervised,
        padding=mixed.row.num_padding,
        loss=loss,
        documents=mixed.row.spans,
    )
