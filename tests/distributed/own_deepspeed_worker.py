"""One rank of two engines, the second with DeepSpeed settings of its own: `... OWN.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from linly.training.ranks.processes import Processes, start_processes, stop_processes
from tests.distributed.engine_worker import accumulate, make_engine
from tests.support.engines import state_of

MICRO_BATCH = 2


def trained(own: dict[str, Any] | None, processes: Processes) -> dict[str, torch.Tensor]:
    """Master weights and moments after three steps."""
    engine = make_engine(MICRO_BATCH, processes.world_size, deepspeed=own)
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
