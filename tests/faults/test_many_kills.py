"""A run that is killed again and again ends as if nothing had happened (`make test-faults`)."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.rank_processes import (
    BIN,
    TIMES,
    deepspeed_command,
    lines_of,
    logs,
    rows_of,
    start,
    torchrun_command,
    wait_all,
    without,
)
from tests.support.tiny_world import make_tiny_world

pytestmark = [pytest.mark.faults, pytest.mark.distributed]
NUM_KILLS = int(os.environ.get("LINLY_KILLS", "50"))


def test_runs_killed_at_random_moments_equal_an_undisturbed_one(tmp_path: Path) -> None:
    """Kills fall anywhere: while starting, evaluating, stepping and saving.

    A run that survives to its end is compared and another one begun, until there were enough.
    """
    make_tiny_world(tmp_path, num_steps=100)
    whole, log = tmp_path / "runs" / "whole", tmp_path / "killed.log"
    recipe = str(tmp_path / "recipe.yaml")
    assert wait_all([start(torchrun_command(recipe, f"run={whole}"), log)]) == [0], logs(log)
    seed = int(os.environ.get("LINLY_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    generator = random.Random(seed)
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    num_kills = num_runs = 0
    while num_kills < NUM_KILLS:
        num_runs += 1
        killed = tmp_path / "runs" / f"killed-{num_runs}"
        command = deepspeed_command(recipe, f"run={killed}")
        ended_after: list[int] = []
        while num_kills < NUM_KILLS and ended_after[-1:] != [100]:
            process = start(command, log, **path)
            time.sleep(generator.uniform(4, 14))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            num_kills += 1
            ended_after.append(
                max((line["step"] for line in lines_of(killed, "metrics")), default=0)
            )
        print(f"seed {seed}, run {num_runs}: {len(ended_after)} kills, after steps {ended_after}")
        assert wait_all([start(command, log, **path)]) == [0], logs(log)
        assert rows_of(killed) == rows_of(whole), f"seed {seed}, run {num_runs}"
        assert without(lines_of(killed, "metrics"), *TIMES) == without(
            lines_of(whole, "metrics"), *TIMES
        )
    print(f"{num_kills} kills of {num_runs} runs: every run equals the undisturbed one")
