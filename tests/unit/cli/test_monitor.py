"""`linly monitor`: where it listens, to whom it answers, and what it says when it cannot start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.synthetic_run import SyntheticRun

COMMAND = (sys.executable, "-m", "linly.cli.main", "monitor")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = SyntheticRun(tmp_path_factory.mktemp("runs") / "small")
    made.start()
    made.train(1, 20)
    return made.path


@pytest.fixture
def monitor(run: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The process, its address, and the second line it printed."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, str(run), "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            address = re.fullmatch(r"monitor: (http://127\.0\.0\.1:\d+)\n", first)
            assert address, first
            yield process, address[1], process.stdout.readline()
        finally:
            process.kill()


def test_it_prints_its_address_and_the_way_from_another_machine(
    monitor: tuple[subprocess.Popen[str], str, str],
) -> None:
    process, address, second = monitor
    port = address.rsplit(":", 1)[1]
    assert f"ssh -L {port}:127.0.0.1:{port} " in second
    with urllib.request.urlopen(address) as answer:  # noqa: S310
        policy = answer.headers["Content-Security-Policy"]
        page = answer.read().decode()
    assert "default-src 'none'" in policy and "'unsafe-eval'" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


def test_a_foreign_host_name_is_refused(
    monitor: tuple[subprocess.Popen[str], str, str],
) -> None:
    asked = urllib.request.Request(monitor[1], headers={"Host": "evil.example"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked)  # noqa: S310


def test_it_listens_on_this_machine_only(
    monitor: tuple[subprocess.Popen[str], str, str],
) -> None:
    port = int(monitor[1].rsplit(":", 1)[1])
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_taken_port_and_a_missing_run_are_said(
    run: Path, monitor: tuple[subprocess.Popen[str], str, str]
) -> None:
    port = monitor[1].rsplit(":", 1)[1]
    taken = subprocess.run(
        [*COMMAND, str(run), "--port", port], capture_output=True, text=True, check=False
    )
    assert taken.returncode == 1
    assert f"error: port {port} of 127.0.0.1 cannot be used" in taken.stderr
    missing = subprocess.run(
        [*COMMAND, str(run.parent / "none")], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 1
    assert "error: no run at" in missing.stderr
