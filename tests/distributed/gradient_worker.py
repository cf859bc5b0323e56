"""One rank that compares a step's gradient and losses with sums made by hand, in fp64."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.data.types import IGNORE_LABEL
from linly.training.engine.engine import Engine
from linly.training.engine.objective import Objective
from linly.training.ranks.processes import start_processes, stop_processes
from tests.distributed.engine_worker import LENGTH, ROWS, VOCABULARY, global_batch
from tests.support.models import tiny_model


def by_hand(model: PreTrainedModel, weight: float) -> dict[str, torch.Tensor]:
    """fp64 sums over all rows of the BF16 gradients of each, and the rows' losses."""
    for parameter in model.parameters():  # and not the buffers, angles of positions among them
        parameter.data = parameter.data.to(torch.bfloat16)
    objective = Objective(model.train())
    objective.loss = "chunked"
    ids, labels = global_batch(0)
    positions = torch.arange(LENGTH).unsqueeze(0)
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    losses = []
    for row in range(ROWS):
        part = slice(row, row + 1)
        model.zero_grad()
        weighted, nll = objective(ids[part], labels[part], positions, None, weight)
        weighted.backward()
        losses.append(nll)
        for name, parameter in model.named_parameters():
            sums[name] += parameter.grad.double()
    return sums | {"losses": torch.cat(losses).double()}


def main() -> None:
    """Rank 0 writes both sides: `found` and `wanted`."""
    processes = start_processes()
    model = tiny_model("llama", seed=3, vocab_size=VOCABULARY)
    ids, labels = global_batch(0)
    targets = int((labels != IGNORE_LABEL).sum())
    weight = processes.world_size / targets
    wanted = by_hand(copy.deepcopy(model), weight)
    share = ROWS // processes.world_size
    settings = TrainingSettings(micro_batch=1, clip=1e6, activation_checkpointing="none")
    engine = Engine(model, settings, accumulation=share)
    positions = torch.arange(LENGTH).unsqueeze(0)
    first = processes.rank * share
    mine = [
        engine.accumulate(
            MicroBatch(ids[row : row + 1], labels[row : row + 1], positions), step_targets=targets
        )
        for row in range(first, first + share)
    ]
    assert engine.step(lr=1e-3).applied
    found = {
        name: engine.full_state(parameter)["exp_avg"].double() / (1 - settings.betas[0])
        for name, parameter in engine.parameters().items()
    }
    losses = processes.gather_numbers(torch.cat(mine).double()).flatten()
    if processes.is_first:
        folder = Path(sys.argv[1])
        save_file(found | {"losses": losses}, folder / "found.safetensors")
        wanted = {
            name: value / (1 if name == "losses" else processes.world_size)
            for name, value in wanted.items()
        }
        save_file(wanted, folder / "wanted.safetensors")
    stop_processes()


if __name__ == "__main__":
    main()
