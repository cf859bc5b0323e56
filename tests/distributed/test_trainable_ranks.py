"""LoRA over two ranks, gone on with by one: what trains is dealt out, what is frozen stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from linly.export.model_export import ExportForm, export_run
from linly.modeling.stored.weight_files import WEIGHTS
from tests.support.rank_processes import TRAIN, lines_of, logs, start_ranks, wait_all
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
LORA = "training.trainable={lora: {rank: 2, also: [lm_head]}}"
TARGETS = {"q_proj", "k_proj", "v_proj", "o_proj", "lm_head"}


def test_lora_trains_over_two_ranks_and_goes_on_with_one(tmp_path: Path) -> None:
    recipe = make_tiny_world(tmp_path / "world", num_steps=4)
    run = tmp_path / "world" / "runs" / "tiny"
    settings = ["data.producers=0", "training.lr=1e-2", "evaluation.prompts=[]", LORA]
    for world_size, last in ((2, 2), (1, 4)):
        log = tmp_path / f"{world_size}.log"
        arguments = [TRAIN, str(recipe), *settings, f"stop_at_step={last}"]
        codes = wait_all(start_ranks(arguments, world_size, log))
        assert codes == [0] * world_size, logs(log)
    assert [line["step"] for line in lines_of(run, "metrics")] == [1, 2, 3, 4]
    given = load_file(tmp_path / "world" / "model" / WEIGHTS)
    for step in (2, 4):
        export_run(run, steps=[step], output=tmp_path / str(step), form=ExportForm("fp32"))
    first, last_weights = (load_file(tmp_path / str(step) / WEIGHTS) for step in (2, 4))
    for name, weight in given.items():
        moves = name.split(".")[-2] in TARGETS
        assert torch.equal(weight, first[name]) is not moves, name
        assert torch.equal(first[name], last_weights[name]) is not moves, name
