"""The least program that trains: DeepSpeed and transformers over tensors that lie ready.

`torchrun bare_loop.py MODEL ROWS.npz CONFIG.json OUT.json`: seconds of each step, by rank 0. No
data path, no records, no guards, no learning-rate schedule, no losses of rows: what `linly train`
is measured against.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import deepspeed
import numpy as np
import torch
from deepspeed.utils import logger
from transformers import AutoModelForCausalLM


def main() -> None:
    """Take as many steps as there are batches."""
    model_folder, rows, config, output = sys.argv[1:]
    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}  # linly runs without as well
    logger.setLevel(logging.ERROR)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    settings = json.loads(Path(config).read_text())
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    world_size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    arrays = np.load(rows)
    share = arrays["ids"].shape[1] // world_size
    mine = slice(rank * share, (rank + 1) * share)
    ids, labels, positions = (
        torch.from_numpy(arrays[name][:, mine]).to(engine.device)
        for name in ("ids", "labels", "position_ids")
    )
    micro_batch = settings["train_micro_batch_size_per_gpu"]
    seconds = []
    for step in range(len(ids)):
        began = time.perf_counter()
        for first in range(0, share, micro_batch):
            part = slice(first, first + micro_batch)
            loss = engine(
                input_ids=ids[step, part],
                labels=labels[step, part],
                position_ids=positions[step, part],
                use_cache=False,
            ).loss
            engine.backward(loss)
            engine.step()
        seconds.append(time.perf_counter() - began)
    if rank == 0:
        Path(output).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
