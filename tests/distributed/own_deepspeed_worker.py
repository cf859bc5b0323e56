"""One rank of two engines, the second with DeepSpeed settings of its own: `... OWN.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from linly.config.settings import TrainingSettings
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes, start_processes, stop_processes
from tests.distributed.engine_worker import LENGTH, ROWS, VOCABULARY, accumulate, state_of

MICRO_BATCH = 2


def trained(own: dict[str, Any] | None, processes: Processes) -> dict[str, torch.Tensor]:
    """Master weights and moments after three steps."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
    )
    form = {"micro_batch": MICRO_BATCH, "deepspeed": own}
    engine = Engine(
        LlamaForCausalLM(config),
        TrainingSettings.model_validate(form),
        accumulation=ROWS // (MICRO_BATCH * processes.world_size),
    )
    for step in range(3):
        accumulate(engine, processes, step, MICRO_BATCH)
        engine.step(lr=1e-2)
    return state_of(engine)


def main() -> None:
    own = json.loads(Path(sys.argv[1]).read_text())
    processes = start_processes()
    plain, other = (trained(settings, processes) for settings in (None, own))
    for name, weight in plain.items():
        assert torch.equal(weight, other[name]), name
    processes.barrier()
    stop_processes()


if __name__ == "__main__":
    main()
