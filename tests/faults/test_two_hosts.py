"""A run on two hosts, which are two network namespaces of this machine; one of them dies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rank_processes import (
    BIN,
    REPOSITORY,
    TRAIN,
    free_port,
    lines_of,
    logs,
    rows_of,
    start,
    wait_all,
    wait_for_step,
    without,
)
from tests.support.tiny_world import make_tiny_world

pytestmark = [pytest.mark.faults, pytest.mark.distributed]
STOPPED = str(REPOSITORY / "tests" / "distributed" / "stopped_train.py")
ADDRESSES = ("10.77.0.1", "10.77.0.2")


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """The names of two namespaces, joined by a cable."""
    names = [f"linly{os.getpid()}{side}" for side in "ab"]
    links = [f"veth{os.getpid() % 100_000}{side}" for side in "ab"]
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces take root and iproute2")
    for name in names:
        added = ip("netns", "add", name)
        if added.returncode:
            pytest.skip(f"no network namespaces here: {added.stderr.strip()}")
    try:
        assert ip("link", "add", links[0], "type", "veth", "peer", "name", links[1]).returncode == 0
        for name, link, address in zip(names, links, ADDRESSES, strict=True):
            for command in (
                ("link", "set", link, "netns", name),
                ("-n", name, "link", "set", link, "name", "eth0"),
                ("-n", name, "addr", "add", f"{address}/24", "dev", "eth0"),
                ("-n", name, "link", "set", "eth0", "up"),
                ("-n", name, "link", "set", "lo", "up"),
            ):
                done = ip(*command)
                assert done.returncode == 0, done.stderr
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def test_a_host_that_dies_is_named_and_the_run_goes_on_on_the_other(
    tmp_path: Path, hosts: list[str]
) -> None:
    """Its cable is pulled first, so that nothing tells the other that it is gone."""
    recipe = str(make_tiny_world(tmp_path, num_steps=8))
    run, whole = tmp_path / "runs" / "two-hosts", tmp_path / "runs" / "whole"
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("h0 slots=1\nh1 slots=1\n")
    port = free_port()
    settings = ["checkpoint.every=2", "checkpoint.async=false"]  # step 2's is whole by step 3
    started = []
    for number, name in enumerate(hosts):
        launcher = [str(BIN / "deepspeed"), "--hostfile", str(hostfile), "--no_ssh"]
        launcher += ["--node_rank", str(number), "--master_addr", ADDRESSES[0]]
        command = [*launcher, "--master_port", port, STOPPED, recipe, f"run={run}", *settings]
        command.append("training.collective_timeout_s=20")
        started.append(
            start(
                ["ip", "netns", "exec", name, *command],
                tmp_path / f"host.{number}.log",
                PATH=f"{BIN}:{os.environ['PATH']}",
                GLOO_SOCKET_IFNAME="eth0",
            )
        )
    try:
        wait_for_step(run, 3)  # rank 1 comes no further by itself
        assert ip("-n", hosts[1], "link", "set", "eth0", "down").returncode == 0
        os.killpg(started[1].pid, signal.SIGKILL)
        codes = wait_all(started, timeout_s=180)
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = logs(tmp_path / "host.log")
    assert codes[0] != 0, said
    assert f"rank 1 on host {socket.gethostname()} does not answer" in said
    assert [line["step"] for line in lines_of(run, "metrics")] == [1, 2, 3]
    log = tmp_path / "alone.log"
    for name in (run, whole):
        command = [sys.executable, TRAIN, recipe, f"run={name}", *settings]
        assert wait_all([start(command, log)]) == [0], logs(log)
    rows, others = rows_of(run), rows_of(whole)
    free = ("rank", "world_size", "loss")
    assert without(rows, *free) == without(others, *free)
    assert [row["world_size"] for row in rows[:: len(rows) // 8]] == [2, 2, 1, 1, 1, 1, 1, 1]
    for row, other in zip(rows, others, strict=True):
        assert (row["loss"] is None) == (other["loss"] is None)
        if row["loss"] is not None:
            assert row["loss"] == pytest.approx(other["loss"], rel=0.02)
