"""A lock file that says who holds it, and that the death of its holder opens."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from linly.errors import TrainingError

PATIENCE_S = 10.0
"""How long a child may outlive a killed holder before the lock counts as taken."""


@contextmanager
def hold(path: Path, what: str) -> Iterator[str]:
    """Hold a lock file for this process; gives a token that the file shows meanwhile.

    The kernel drops the lock when its process dies, however it dies: a stale file is taken over.
    A child that outlives its killed parent may hold it for a moment; that is waited for.

    Args:
        path: The lock file; made where it is not there, never removed.
        what: What it guards, as an error names it.

    Raises:
        TrainingError: Another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, path, what)
        token = uuid4().hex
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "time": now, "token": token}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, orjson.dumps(holder) + b"\n", 0)
        os.fsync(descriptor)
        try:
            yield token
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_held_by(path: Path, token: str, *, timeout_s: float) -> bool:
    """Whether the file shows a holder's token; a shared file system may show it late."""
    deadline = time.monotonic() + timeout_s
    while _holder(path).get("token") != token:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _take(descriptor: int, path: Path, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(path)
            if not _is_dead_here(holder) or time.monotonic() > deadline:
                raise TrainingError(
                    f"{what}: {_described(holder)} holds its lock; stop that process, or start "
                    f"another run with run=PATH"
                ) from None
            time.sleep(0.1)
        except OSError as error:
            raise TrainingError(
                f"{what}: its file system refuses locks ({error.strerror}), so two runs could "
                f"write into it: mount it with locks (Lustre: -o flock) or choose another place "
                f"with run=PATH"
            ) from error


def _holder(path: Path) -> dict[str, Any]:
    try:
        holder = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_dead_here(holder: Mapping[str, Any]) -> bool:
    """Whether the process that wrote the lock ran on this host and is gone."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False


def _described(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on host {holder.get('host')} since {holder.get('time')}"
