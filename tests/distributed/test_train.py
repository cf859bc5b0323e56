"""Whole runs of `linly train` in real processes: killed, stopped, resumed at other world sizes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoint_files import read_master_weight
from linly.training.checkpoints.manifest import Manifest, folder_name, verified
from tests.support.prepared import run_prepared
from tests.support.rank_processes import (
    BIN,
    TIMES,
    TRAIN,
    deepspeed_command,
    environment,
    free_port,
    lines_of,
    logs,
    rows_of,
    start,
    start_ranks,
    torchrun_command,
    wait_all,
    wait_for_step,
    without,
)
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
NUM_STEPS = 60
AVERAGE = "training.average={kind: ema, decay: 0.8, every: 5}"
FREE = ("rank", "world_size", "loss")
"""What of a row another world size changes."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS)
    return folder


@pytest.fixture(scope="module")
def undisturbed(world: Path) -> Path:
    """A whole run of two ranks, started by torchrun; with a mirror."""
    run = world / "runs" / "undisturbed"
    log = world / "undisturbed.log"
    command = torchrun_command(*arguments(world, run, f"checkpoint.mirror={world / 'mirror'}"))
    assert wait_all([start(command, log)]) == [0], logs(log)
    return run


def arguments(world: Path, run: Path, *more: str) -> list[str]:
    return [str(world / "recipe.yaml"), f"run={run}", AVERAGE, *more]


def saved(run: Path, step: int, key: str) -> dict[str, torch.Tensor]:
    """Tensors of one key in a checkpoint, by parameter."""
    folder = run / "checkpoints" / folder_name(step)
    files = Manifest.read(folder).parameters.items()
    return {name: read_master_weight(folder / file, name, key) for name, file in files}


def assert_close_losses(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    for row, other in zip(rows, others, strict=True):
        assert (row["loss"] is None) == (other["loss"] is None)
        if row["loss"] is not None:
            assert row["loss"] == pytest.approx(other["loss"], rel=0.02)


def test_kill_9_of_the_process_group_changes_nothing(world: Path, undisturbed: Path) -> None:
    """Started by deepspeed, killed at a random step, started again by the same command."""
    run = world / "runs" / "killed"
    log = world / "killed.log"
    command = deepspeed_command(*arguments(world, run))
    process = start(command, log, PATH=f"{BIN}:{os.environ['PATH']}")
    wait_for_step(run, random.SystemRandom().randint(1, NUM_STEPS // 2))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(lines_of(run, "metrics")) < NUM_STEPS
    assert wait_all([start(command, log, PATH=f"{BIN}:{os.environ['PATH']}")]) == [0], logs(log)
    assert rows_of(run) == rows_of(undisturbed)  # losses included, bitwise
    killed, whole = lines_of(run, "metrics"), lines_of(undisturbed, "metrics")
    assert without(killed, *TIMES) == without(whole, *TIMES)
    assert [line["step"] for line in whole] == list(range(1, NUM_STEPS + 1))
    assert without(lines_of(run, "evaluations"), "time") == without(
        lines_of(undisturbed, "evaluations"), "time"
    )
    assert lines_of(run, "evaluations")[-1]["average"]["last_step"] == NUM_STEPS
    for key in ("master", "average"):
        other = saved(undisturbed, NUM_STEPS, key)
        for name, tensor in saved(run, NUM_STEPS, key).items():
            assert torch.equal(tensor, other[name]), (key, name)


def test_torchrun_restarts_a_job_that_lost_its_first_rank(world: Path, undisturbed: Path) -> None:
    """The restarted ranks go on from the newest complete checkpoint, to the same bits."""
    run, log = world / "runs" / "restarted", world / "restarted.log"
    command = torchrun_command(*arguments(world, run), options=("--max-restarts", "1"))
    process = start(command, log)
    wait_for_step(run, NUM_STEPS // 2)
    ranks = psutil.Process(process.pid).children()
    [first] = [rank for rank in ranks if rank.environ().get("RANK") == "0"]
    first.kill()
    assert wait_all([process]) == [0], logs(log)
    resumed = [line for line in lines_of(run, "events") if line["kind"] == "resume"]
    assert len(resumed) == 1
    assert rows_of(run) == rows_of(undisturbed)


def test_the_first_rank_copies_the_run_to_its_mirror(world: Path, undisturbed: Path) -> None:
    copy = world / "mirror" / "undisturbed"
    assert verified(copy / "checkpoints", None)[1].step == NUM_STEPS
    assert rows_of(copy) == rows_of(undisturbed)
    assert lines_of(copy, "metrics") == lines_of(undisturbed, "metrics")


def test_sigterm_saves_and_exits_with_75_and_another_world_size_goes_on(
    world: Path, undisturbed: Path
) -> None:
    run = world / "runs" / "preempted"
    log = world / "preempted.log"
    process = start([sys.executable, TRAIN, *arguments(world, run)], log)
    wait_for_step(run, 2)
    os.killpg(process.pid, signal.SIGTERM)  # as schedulers do: helpers get it too
    code = process.wait(120)
    stopped_at = lines_of(run, "metrics")[-1]["step"]
    assert (code, stopped_at < NUM_STEPS) == (75, True), logs(log)
    assert (run / "checkpoints" / f"step-{stopped_at:08d}" / "manifest.json").exists()
    assert wait_all(start_ranks([TRAIN, *arguments(world, run)], 2, log)) == [0, 0], logs(log)
    rows, others = rows_of(run), rows_of(undisturbed)
    assert without(rows, *FREE) == without(others, *FREE)
    assert {row["world_size"] for row in rows} == {1, 2}
    assert_close_losses(rows, others)


def test_two_ranks_then_one_then_two_again_train_on_the_same_rows(
    world: Path, undisturbed: Path
) -> None:
    run, log = world / "runs" / "elastic", world / "elastic.log"
    for num_ranks, stop in ((2, 20), (1, 40), (2, NUM_STEPS)):
        settings = (f"stop_at_step={stop}", "checkpoint={every: 5, keep_last: 99}")
        command = [TRAIN, *arguments(world, run, *settings)]
        assert not any(wait_all(start_ranks(command, num_ranks, log))), logs(log)
    rows, others = rows_of(run), rows_of(undisturbed)
    assert without(rows, *FREE) == without(others, *FREE)
    sizes = [row["world_size"] for row in rows]
    assert sizes == [2] * (len(rows) // 3) + [1] * (len(rows) // 3) + [2] * (len(rows) // 3)
    assert_close_losses(rows, others)
    samples = {step: saved(run, step, "master") for step in range(5, NUM_STEPS + 1, 5)}
    factors = {step: 0.8 ** ((NUM_STEPS - step) // 5) for step in samples}
    for name, average in saved(run, NUM_STEPS, "average").items():
        total = sum(factors[step] * samples[step][name].double() for step in samples)
        mean = total / sum(factors.values())
        assert torch.allclose(average.double(), mean, rtol=0, atol=1e-6), name


def test_stop_at_step_ends_whole_and_does_not_shrink_the_schedule(
    world: Path, undisturbed: Path
) -> None:
    run = world / "runs" / "stopped"
    log = world / "stopped.log"
    for step in (6, 7):
        command = [sys.executable, TRAIN, *arguments(world, run, f"stop_at_step={step}")]
        assert wait_all([start(command, log)]) == [0], logs(log)
        lines = lines_of(run, "metrics")
        assert [line["step"] for line in lines] == list(range(1, step + 1))
        assert lines[-1]["lr"] == lines_of(undisturbed, "metrics")[step - 1]["lr"]
        assert lines_of(run, "evaluations")[-1]["step"] == step
    assert "continue: linly train" in log.read_text()


def test_a_damaged_newest_checkpoint_is_skipped_by_fork_and_named(
    world: Path, undisturbed: Path
) -> None:
    run = world / "runs" / "torn"
    shutil.copytree(undisturbed, run)
    part = run / "checkpoints" / "step-00000060" / "rank-00001.safetensors"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    log = world / "torn.log"
    codes = wait_all(start_ranks([TRAIN, *arguments(world, run)], 2, log))
    assert codes == [0, 0], logs(log)
    assert "incomplete or corrupt: rank-00001.safetensors: differs from its hash" in logs(log)
    assert rows_of(run) == rows_of(undisturbed)


def test_a_changed_recipe_is_refused_with_its_difference(world: Path, undisturbed: Path) -> None:
    overrides = ("data.seed=8", "training.lr=2e-3", "training.micro_batch=4")
    changed = run_prepared(
        TRAIN, *arguments(world, undisturbed, *overrides), environment=environment()
    )
    assert changed.returncode == 1
    assert "data.seed: 7 -> 8" in changed.stderr
    assert "training.lr" not in changed.stderr


def test_two_cannot_train_the_same_run(world: Path) -> None:
    run = world / "runs" / "held"
    folder = RunFolder.create_or_open(run)
    with folder.lock():
        second = run_prepared(TRAIN, *arguments(world, run), environment=environment())
    assert second.returncode == 1
    assert f"process {os.getpid()}" in second.stderr
    assert not (run / "metrics.jsonl").exists()


def test_a_rank_that_sees_another_run_folder_is_refused_with_its_host(world: Path) -> None:
    """As on a node where the folder is not that of the shared file system."""
    log = world / "elsewhere.log"
    script = [sys.executable, TRAIN]
    port = free_port()
    ranks = [
        start(
            [*script, *arguments(world, world / "runs" / f"of-rank-{rank}")],
            log.with_suffix(f".{rank}.log"),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank in range(2)
    ]
    assert wait_all(ranks) == [1, 1], logs(log)
    assert f"host {socket.gethostname()} does not see the run folder of the first" in logs(log)
    assert not (world / "runs" / "of-rank-0" / "metrics.jsonl").exists()
