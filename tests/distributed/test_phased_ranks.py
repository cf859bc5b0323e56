"""Training phases over two ranks, then one, then two: shares are cut anew, parts stay parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from linly.modeling.parts.new_rows import BASE_VOCABULARY_KEY
from linly.modeling.stored.weight_files import WEIGHTS, read_json_object, write_json_object
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.manifest import folder_name
from tests.support.rank_processes import TRAIN, lines_of, logs, start_ranks, wait_all
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
OLD = 330
SETTINGS = (
    *("data.producers=0", "training.lr=1e-2", "evaluation.prompts=[]", "evaluation.every=99"),
    *("checkpoint.every=1", "checkpoint.keep_last=9", "training.clip=1e30"),
    "training.phases=[{until: 50%, trainable: new_rows}, {trainable: full}]",
    "training.lr_scale={embeddings: 0.2, new_rows: 1.0}",
)


def state_of(run: Path, step: int) -> dict[str, torch.Tensor]:
    files = sorted((run / "checkpoints" / folder_name(step)).glob("rank-*.safetensors"))
    return {key: tensor for file in files for key, tensor in load_file(file).items()}


def test_two_ranks_then_one_then_two_cross_a_border(tmp_path: Path) -> None:
    """The first border is crossed by one rank; losses differ by the order of sums only."""
    recipe = make_tiny_world(tmp_path / "world", num_steps=6)
    config = recipe.parent / "model" / "config.json"
    write_json_object(config, read_json_object(config) | {BASE_VOCABULARY_KEY: OLD})
    runs = {name: recipe.parent / "runs" / name for name in ("changed", "undisturbed")}
    for name, world_size, last in (
        *(("changed", 2, 2), ("changed", 1, 4), ("changed", 2, 6)),
        ("undisturbed", 2, 6),
    ):
        log = tmp_path / f"{name}-{last}.log"
        arguments = [TRAIN, str(recipe), *SETTINGS, f"run={runs[name]}", f"stop_at_step={last}"]
        codes = wait_all(start_ranks(arguments, world_size, log))
        assert codes == [0] * world_size, logs(log)
    given = load_file(recipe.parent / "model" / WEIGHTS)
    for run in runs.values():
        assert [line["step"] for line in lines_of(run, "events") if line["kind"] == "phase"] == [4]
        for key, tensor in state_of(run, 3).items():
            kind, name = key.split(".", 1)
            before = given[name].float() if kind == "master" else torch.zeros_like(tensor)
            has_rows = name in ("model.embed_tokens.weight", "lm_head.weight")
            old = tensor[:OLD] if has_rows else tensor
            assert torch.equal(old, before[: len(old)]), (run, key)
    changed, undisturbed = (state_of(run, 6) for run in runs.values())
    for key, tensor in undisturbed.items():
        if key.startswith("master."):
            torch.testing.assert_close(changed[key], tensor, rtol=0, atol=5e-3)
    counts = [
        read_state(run / "checkpoints" / folder_name(6))["part_steps"] for run in runs.values()
    ]
    assert counts == [{**dict.fromkeys(counts[0], 3), "new_embeddings": 6, "new_head": 6}] * 2
    assert torch.equal(
        state_of(runs["changed"], 2)["master.lm_head.weight"],
        state_of(runs["undisturbed"], 2)["master.lm_head.weight"],
    )
