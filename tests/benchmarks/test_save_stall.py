"""How long a save holds training up: beside it, and in it (`make bench`)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from linly.config.sections.saving_sections import CheckpointSettings
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.ranks.processes import start_processes
from tests.support.engines import take_step, tiny_engine

pytestmark = pytest.mark.benchmark
NUM_SAVES = 4
LARGEST_RATIO = 0.1


def test_a_save_beside_training_stalls_it_a_tenth_as_long(tmp_path: Path) -> None:
    """The first save of each kind is left out: it gets the host's memory from the system."""
    processes = start_processes()
    engine = tiny_engine(
        hidden_size=2048,
        intermediate_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        head_dim=1024,
    )
    take_step(engine)
    size_bytes = 12 * sum(parameter.numel() for parameter in engine.parameters().values())
    stalls: dict[bool, list[float]] = {True: [], False: []}
    keepers = {}
    for is_async in stalls:
        folder = tmp_path / str(is_async)
        folder.mkdir()
        settings = CheckpointSettings.model_validate(
            {"every": 1, "keep_last": 1, "keep_every": None, "async": is_async}
        )
        keepers[is_async] = Checkpoints(folder, processes, settings)
    for step in range(NUM_SAVES):
        for is_async, keeper in keepers.items():
            began = time.perf_counter()
            keeper.begin(engine, step, {})
            if not is_async:
                keeper.wait()
            stalls[is_async].append(time.perf_counter() - began)
            keeper.wait()
    beside, within = (sorted(stalls[kind][1:])[NUM_SAVES // 2 - 1] for kind in (True, False))
    print(
        f"\nsave of {size_bytes / 1e9:.2f} GB: training stalls {beside:.3f} s with async, "
        f"{within:.3f} s without: {beside / within:.1%}"
    )
    assert beside < LARGEST_RATIO * within
