"""A real engine around a model of a few hundred parameters."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from linly.config.settings import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.training.engine.engine import Engine


def small_engine(hidden: int = 16, *, layers: int = 1) -> Engine:
    """An engine for one process, before its first step."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=hidden,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    settings = TrainingSettings(micro_batch=1, activation_checkpointing=False)
    return Engine(LlamaForCausalLM(config), settings, accumulation=1)


def take_step(engine: Engine) -> None:
    """One step on one row."""
    ids = torch.arange(8).unsqueeze(0)
    engine.accumulate(MicroBatch(ids, ids, ids), step_targets=7)
    engine.step(lr=1e-3)


def state_of(engine: Engine) -> dict[str, torch.Tensor]:
    """A copy of all that a checkpoint keeps of the engine, `KEY.PARAMETER` -> tensor."""
    return {
        f"{key}.{name}": tensor.clone()
        for name, parameter in engine.parameters().items()
        for key, tensor in engine.full_state(parameter).items()
    }
