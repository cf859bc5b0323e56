"""The engine holds each weight and buffer in the dtype that transformers loads it in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.modeling.load_model import load_model
from linly.training.checkpoints.checkpoint_files import read_buffers
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes
from tests.support.models import tiny_model

IDS = torch.arange(3, 27).view(2, -1)
POSITIONS = torch.arange(12).expand(2, -1)
SETTINGS = TrainingSettings.model_validate({"micro_batch": 2, "activation_checkpointing": "none"})


def stored(folder: Path, name: str) -> Path:
    """A family's model in fp32, with buffers that its class does not make by itself."""
    model = tiny_model(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.dim():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.02)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["ernie4_5_moe", "hunyuan_v1_moe", "hy_v4", "deepseek_v3"])
def test_row_losses_are_those_of_the_model_in_transformers(
    tmp_path: Path, alone: Processes, name: str
) -> None:
    model = load_model(stored(tmp_path, name))
    exact = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    engine = Engine(model, SETTINGS, accumulation=1)
    for key, tensor in plain.state_dict().items():
        found = engine.module.state_dict()[key]
        assert found.dtype == tensor.dtype, key
        assert torch.equal(found, tensor), key
    for key, parameter in engine.parameters().items():
        assert torch.equal(engine.full_state(parameter)["master"], exact[key]), key
    rows = engine.accumulate(MicroBatch(IDS, IDS, POSITIONS), step_targets=22)
    with torch.no_grad():
        logits = plain(IDS, position_ids=POSITIONS, use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), IDS[:, 1:], reduction="none"
    )
    assert torch.allclose(rows, losses.sum(dim=1), atol=1e-3)
    assert engine.step(lr=1e-3).applied


def test_checkpoints_hold_buffers_as_they_were_stored(tmp_path: Path, alone: Processes) -> None:
    model = load_model(stored(tmp_path / "model", "minimax_m2"))
    exact = {n: b.clone() for n, b in model.state_dict().items() if "correction_bias" in n}
    engine = Engine(model, SETTINGS, accumulation=1)
    (tmp_path / "checkpoints").mkdir()
    checkpoints = Checkpoints(tmp_path / "checkpoints", alone, CheckpointSettings())
    folder = checkpoints.save(engine, 1, {})
    found = read_buffers(folder)
    assert found.keys() == exact.keys()
    assert all(torch.equal(found[name], buffer) for name, buffer in exact.items())
    held = dict(engine.module.named_buffers())
    for name in exact:
        held[name].zero_()
    checkpoints.load(folder, engine, optimizer_steps=0)
    for name, buffer in exact.items():
        assert torch.equal(held[name], buffer.to(held[name].dtype)), name
        assert torch.equal(engine.buffers()[name], buffer), name
