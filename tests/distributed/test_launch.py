"""`linly launch` in real processes: a signal saves the run, and the exit code says so."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.rank_processes import lines_of, logs, start, wait_for_step
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
NUM_STEPS = 240


def test_sigterm_of_the_whole_group_saves_and_exits_with_75(tmp_path: Path) -> None:
    recipe = make_tiny_world(tmp_path, num_steps=NUM_STEPS)
    run, log = tmp_path / "runs" / "preempted", tmp_path / "preempted.log"
    words = ["launch", str(recipe), f"run={run}", "evaluation.prompts=[]", "--nproc", "2"]
    process = start([sys.executable, "-m", "linly", *words], log)
    wait_for_step(run, 2)
    os.killpg(process.pid, signal.SIGTERM)  # as schedulers do
    assert process.wait(120) == 75, logs(log)
    stopped_at = lines_of(run, "metrics")[-1]["step"]
    assert stopped_at < NUM_STEPS
    assert (run / "checkpoints" / f"step-{stopped_at:08d}" / "manifest.json").exists()
