"""A rank that does not come ends the job, and is named."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.support.rank_processes import (
    lines_of,
    logs,
    start,
    start_ranks,
    torchrun_command,
    wait_all,
)
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
WORKER = str(Path(__file__).parent / "hang_worker.py")
STOPPED = str(Path(__file__).parent / "stopped_train.py")
HOST = socket.gethostname()


def others_of(who: int, how: str, folder: Path) -> list[str]:
    """Run three ranks of which `who` hangs; what each of the others says before it ends with 1."""
    log = folder / "hang.log"
    ranks = start_ranks([WORKER, str(who), how], 3, log)
    try:
        codes = wait_all([rank for number, rank in enumerate(ranks) if number != who])
    finally:
        ranks[who].kill()
        ranks[who].wait()
    # The first to end takes the store or the connections of the others with it.
    assert codes[0] == 1 or codes[1] == 1, logs(log)
    assert all(codes), logs(log)
    return [log.with_suffix(f".{rank}.log").read_text() for rank in range(3) if rank != who]


def test_a_stopped_rank_is_named_with_its_last_place(tmp_path: Path) -> None:
    said = "".join(others_of(1, "stopped", tmp_path))
    assert "for the other ranks, in: step 2: losses" in said
    assert f"rank 1 on host {HOST} does not answer" in said
    assert "its last wait: step 1: losses" in said
    assert "hang_worker.py" in said  # where it waits, by its stack


def test_a_rank_that_is_busy_elsewhere_is_told_from_one_that_is_gone(tmp_path: Path) -> None:
    said = "".join(others_of(2, "busy", tmp_path))
    assert f"rank 2 on host {HOST} answers, but does not wait; its last wait: step 1" in said
    assert "rank 1 on" not in said.replace("rank 1 on host " + HOST + " has waited", "")


def test_a_stopped_first_rank_is_named_though_the_store_is_its_own(tmp_path: Path) -> None:
    said = "".join(others_of(0, "stopped", tmp_path))
    assert "rank 0 does not answer" in said


@pytest.mark.faults
def test_a_launcher_leaves_no_orphan_of_a_run_whose_rank_is_stopped(tmp_path: Path) -> None:
    """torchrun gives the stopped one 30 seconds before it kills it."""
    recipe = make_tiny_world(tmp_path, num_steps=20)
    run, log = tmp_path / "runs" / "stopped", tmp_path / "stopped.log"
    arguments = [str(recipe), f"run={run}", "training.collective_timeout_s=20"]
    launcher = start(torchrun_command(*arguments, script=STOPPED), log, LINLY_MARK=str(tmp_path))
    assert wait_all([launcher], timeout_s=240) != [0], logs(log)
    assert f"rank 1 on host {HOST} does not answer" in logs(log)
    assert [line["step"] for line in lines_of(run, "metrics")] == [1, 2, 3]
    deadline = time.monotonic() + 60
    while left := marked(f"LINLY_MARK={tmp_path}"):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def marked(variable: str) -> list[int]:
    """Living processes that were started with a variable, which their children inherit."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except (OSError, ValueError):  # gone, another user's, or no process
            continue
    return found
