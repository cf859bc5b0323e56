"""A real engine around a tiny model."""

from __future__ import annotations

from typing import Any

import torch

from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.training.engine.engine import Engine
from tests.support.models import tiny_model


def tiny_engine(**sizes: Any) -> Engine:
    """An engine for one process, before its first step; `sizes` are those of its Llama."""
    sizes = {"vocab_size": 32, "num_hidden_layers": 1} | sizes
    settings = TrainingSettings(micro_batch=1, activation_checkpointing=False)
    return Engine(tiny_model("llama", **sizes), settings, accumulation=1)


def accumulate(engine: Engine) -> None:
    """Gradients of one row."""
    ids = torch.arange(8).unsqueeze(0)
    engine.accumulate(MicroBatch(ids, ids, ids), step_targets=7)


def take_step(engine: Engine) -> None:
    """One step on one row."""
    accumulate(engine)
    engine.step(lr=1e-3)


def state_of(engine: Engine) -> dict[str, torch.Tensor]:
    """A copy of all that a checkpoint keeps of the engine, `KEY.PARAMETER` -> tensor."""
    return {
        f"{key}.{name}": tensor.clone()
        for name, parameter in engine.parameters().items()
        for key, tensor in engine.full_state(parameter).items()
    }
