"""Runs beside each other on one machine: the ranks of each meet at a port of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.rank_processes import BIN, TRAIN, environment, free_port, logs, start, wait_all
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.distributed
PATH = {"PATH": f"{BIN}:{environment()['PATH']}"}
LAUNCHERS = (
    [str(BIN / "deepspeed"), "--num_gpus", "2"],
    [str(BIN / "torchrun"), "--nproc-per-node", "2"],
)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """A port that another program listens on, if nobody does already."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("0.0.0.0", port))  # noqa: S104
            other.listen()
        except OSError:
            pass
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_world(tmp_path_factory.mktemp("world"), num_steps=2)


def test_runs_started_together_both_end_well(recipe: Path) -> None:
    """While the port that launchers name by default is taken, and one that a user has chosen."""
    log, chosen = recipe.parent / "beside.log", free_port()
    with taken(29500), taken(int(chosen)):
        started = []
        with_port = [*LAUNCHERS[0][:1], "--master_port", chosen, *LAUNCHERS[0][1:]]
        for number, launcher in enumerate((*LAUNCHERS, with_port)):
            run = f"run={recipe.parent}/runs/{number}"
            started.append(start([*launcher, TRAIN, str(recipe), run], log, **PATH))
        assert wait_all(started, timeout_s=300) == [0, 0, 0], logs(log)


def test_a_port_that_is_taken_is_one_clear_line(recipe: Path) -> None:
    log, port = recipe.parent / "taken.log", free_port()
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    with taken(int(port)):
        command = [str(BIN / "python"), TRAIN, str(recipe)]
        rank = start(command, log, **ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        assert wait_all([rank]) == [1]
    errors = [line for line in log.read_text().splitlines() if "Warning" not in line]
    assert [line for line in errors if line.startswith("error: ")] == errors[-1:]
    assert f"port {port} of host" in errors[-1]
    assert "Traceback" not in log.read_text()
