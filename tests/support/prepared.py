"""Python programs that start with torch, transformers and DeepSpeed imported already.

The imports take 5 to 10 s of processor time in every process. Here one process for each pytest
worker imports them once (`tests/support/fork_server.py`) and forks for each program. The program
runs as `python ARGUMENTS` would: it imports linly itself, in the given folder and environment.
Tests of launchers, of the installed program and of variables that the packages read start
interpreters of their own instead.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

SERVER = Path(__file__).with_name("fork_server.py")


class PreparedProcess:
    """A program forked from the server, with the methods of `subprocess.Popen` that tests use."""

    num_cpu_s = 0.0
    """Processor seconds of all the programs that have ended."""

    def __init__(
        self,
        arguments: list[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: BinaryIO,
        errors: BinaryIO,
    ) -> None:
        request = {
            "arguments": arguments,
            "folder": str(folder),
            "environment": dict(environment),
        }
        reading, writing = os.pipe()
        files = [output.fileno(), errors.fileno(), writing]
        socket.send_fds(_server(), [json.dumps(request).encode()], files)
        os.close(writing)
        self.args = arguments
        self.returncode: int | None = None
        self._report = os.fdopen(reading, "rb")
        self.pid = int(self._report.readline())
        os.set_blocking(reading, False)

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        if self.returncode is None and (end := self._report.readline()):
            self.returncode, num_cpu_s = json.loads(end)
            PreparedProcess.num_cpu_s += num_cpu_s
            self._report.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code of the program, once it has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run_prepared(
    *arguments: str, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end, and capture its output."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        program = PreparedProcess(
            list(arguments),
            folder=folder or Path.cwd(),
            environment=environment,
            output=output,
            errors=errors,
        )
        code = program.wait()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *texts)


@functools.cache
def _server() -> socket.socket:
    """Our end of the server's socket; the server ends when it closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dropped = ("PYTHONPATH", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    subprocess.Popen(
        [sys.executable, str(SERVER), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env=kept | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    theirs.close()
    return ours
