"""Starting the processes of a run as launchers do, without a launcher's own seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from tests.support.prepared import PreparedProcess

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = str(REPOSITORY / "launch" / "train.py")
BIN = Path(sys.executable).parent
TIMES = ("time", "tokens_per_second", "data_wait_fraction")
"""What differs between two runs that did the same."""


def environment() -> dict[str, str]:
    """One thread, and no trace of a launcher that started the tests."""
    dropped = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def start(
    command: list[str], log: Path, **variables: str
) -> subprocess.Popen[bytes] | PreparedProcess:
    """Start a command in a process group of its own: a launcher, or a prepared program."""
    if command[0] == sys.executable:
        return _start_prepared(command[1:], log, **variables)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment() | variables,
            cwd=log.parent,
            start_new_session=True,
        )


def free_port() -> str:
    """A port for the ranks to meet at, so that runs beside each other do not collide."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def deepspeed_command(*arguments: str) -> list[str]:
    """`deepspeed launch/train.py ARGUMENTS` for two ranks."""
    launcher = [str(BIN / "deepspeed"), "--num_gpus", "2", "--master_port", free_port()]
    return [*launcher, TRAIN, *arguments]


def torchrun_command(
    *arguments: str, script: str = TRAIN, options: Sequence[str] = ()
) -> list[str]:
    """`torchrun OPTIONS launch/train.py ARGUMENTS` for two ranks."""
    launcher = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-port", free_port()]
    return [*launcher, *options, script, *arguments]


def start_ranks(
    arguments: list[str], world_size: int, log: Path, **variables: str
) -> list[PreparedProcess]:
    """Start `python ARGUMENTS` once a rank, with the variables that launchers set."""
    port = free_port()
    return [
        _start_prepared(
            arguments,
            log.with_suffix(f".{rank}.log"),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world_size),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
            **variables,
        )
        for rank in range(world_size)
    ]


def _start_prepared(arguments: list[str], log: Path, **variables: str) -> PreparedProcess:
    with log.open("ab") as output:
        return PreparedProcess(
            arguments,
            folder=log.parent,
            environment=environment() | variables,
            output=output,
            errors=output,
        )


def wait_all(
    processes: Sequence[subprocess.Popen[bytes] | PreparedProcess], *, timeout_s: float = 120
) -> list[int]:
    """Exit codes of all; kills them when time is up."""
    try:
        return [process.wait(timeout_s) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def logs(log: Path) -> str:
    """What the ranks printed, for messages."""
    files = sorted(log.parent.glob(f"{log.stem}*.log"))
    return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in files)


def rows_of(run: Path) -> list[dict[str, Any]]:
    """A run's row record."""
    parts = sorted((run / "rows").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def lines_of(run: Path, name: str) -> list[dict[str, Any]]:
    """The whole lines of one of a run's logs."""
    path = run / f"{name}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [orjson.loads(line) for line in lines if line.endswith(b"\n")]


def wait_for_step(run: Path, step: int, *, timeout_s: float = 120) -> None:
    """Until a run has taken a step."""
    deadline = time.monotonic() + timeout_s
    while not any(line["step"] >= step for line in lines_of(run, "metrics")):
        assert time.monotonic() < deadline, f"step {step} did not come"
        time.sleep(0.01)


def without(records: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Records without some of their keys."""
    return [{k: v for k, v in record.items() if k not in keys} for record in records]
