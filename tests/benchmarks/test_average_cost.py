"""Cost of averaged weights: time of an update against a step, and host memory (`make bench`)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

import pytest
import torch

from linly.config.sections.average_setting import WeightAveraging
from linly.data.loading.loader import MicroBatch
from linly.modeling.memory import average_bytes
from linly.training.engine.weight_average import WeightAverage
from linly.training.ranks.processes import start_processes
from tests.support.engines import tiny_engine

pytestmark = pytest.mark.benchmark
TOKENS = 4096
STEPS = 5
PARAMETERS = 50_000_000
LARGEST_SHARE = 0.01


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_average_costs_less_than_a_hundredth_of_a_step() -> None:
    """Even if training waited for each update: an `ema` that samples every tenth step."""
    start_processes()
    engine = tiny_engine(
        hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8
    )
    ids = torch.arange(TOKENS).view(8, -1) % 32
    positions = torch.arange(ids.shape[1]).expand_as(ids)

    def step() -> float:
        began = time.perf_counter()
        engine.accumulate(MicroBatch(ids, ids, positions), step_targets=TOKENS)
        engine.step(lr=1e-4)
        return time.perf_counter() - began

    step()
    steps = median(step() for _ in range(STEPS))
    masters = engine._partitions()
    settings = WeightAveraging(kind="ema", decay=0.999, every=10)
    average = WeightAverage(settings, masters, num_steps=1000)
    updates = []
    for at in range(10, 10 * (STEPS + 2), 10):
        began = time.perf_counter()
        average.update(at)
        average.wait()
        updates.append(time.perf_counter() - began)
    update = median(updates[1:])
    share = update / settings.every / steps
    parameters = sum(master.numel() for master in masters)
    print(
        f"\n{parameters / 1e6:.1f} M parameters, {TOKENS:,} tokens a step: step {steps:.3f} s, "
        f"update {update:.4f} s every {settings.every} steps: {share:.2%} of a step"
    )
    assert share < LARGEST_SHARE


@pytest.mark.parametrize("kind", ["ema", "window"])
def test_an_average_takes_the_host_memory_that_check_states(kind: str) -> None:
    masters = [torch.randn(PARAMETERS)]
    settings = WeightAveraging.model_validate({"kind": kind})
    before = resident_bytes()
    average = WeightAverage(settings, masters, num_steps=1000)
    for step in range(0, 1001, settings.every):
        average.update(step)
        average.wait()
    seen = resident_bytes() - before
    stated = average_bytes(PARAMETERS, num_copies=settings.num_copies, world_size=1)
    print(f"\n{kind}: {seen / 1e6:.0f} MB of host memory, stated {stated / 1e6:.0f} MB")
    assert abs(seen - stated) < 16 << 20
