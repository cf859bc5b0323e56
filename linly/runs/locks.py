"""A lock file that names its holder and is released when the holder dies.

The lock belongs to the open file, not to its name: if the file is removed or replaced, another
process can take the lock. The holder therefore compares the two before each write.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from linly.errors import TrainingError

PATIENCE_S = 10.0
"""Seconds that a child may outlive a killed holder before the lock counts as taken."""


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock held by this process.

    Attributes:
        path: Name of the lock file.
        what: Name of the locked resource, for errors.
        token: Token stored in the file while the lock is held.
    """

    path: Path
    what: str
    token: str
    _descriptor: int

    def check(self) -> None:
        """Check that the path still names the locked file; call before a write.

        If the file is removed or replaced, or its folder moved, another process can take the lock.

        Raises:
            TrainingError: If the path is missing or names another file.
        """
        problem = _replaced(self._descriptor, self.path)
        if problem is not None:
            raise TrainingError(
                f"{self.what}: {problem} while process {os.getpid()} held its lock, so that "
                "another process may write there. This process has stopped writing. Make sure "
                "that no other process trains there, then start the same command again"
            )


@contextmanager
def hold(path: Path, what: str) -> Iterator[HeldLock]:
    """Hold a lock file for this process.

    The kernel releases the lock when the process dies, so a stale file is taken over. A child that
    outlives its killed parent may hold the lock briefly, so `hold` waits for it.

    Args:
        path: Lock file; created if missing, never removed.
        what: Name of the locked resource, for errors.

    Raises:
        TrainingError: If another process holds it, or it cannot be opened.
    """
    descriptor = _take(path, what)
    try:
        token = uuid4().hex
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "time": now, "token": token}
        try:
            _show(descriptor, path, what, orjson.dumps(holder) + b"\n")
            yield HeldLock(path, what, token, descriptor)
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def check_free(path: Path, what: str) -> None:
    """Check that no process holds a lock file, without creating it or taking it over.

    Args:
        path: Lock file; it may be missing.
        what: Name of the locked resource, for errors.

    Raises:
        TrainingError: If another process holds it.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until the file is closed
        except BlockingIOError:
            raise _taken(path, what) from None


def is_held_by(path: Path, token: str, *, timeout_s: float) -> bool:
    """Whether the file contains the token; waits, as a shared file system may show it late."""
    deadline = time.monotonic() + timeout_s
    while _holder(path).get("token") != token:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _take(path: Path, what: str) -> int:
    """Open and lock the file at the path, and return its descriptor."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        descriptor = _open(path, what)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _replaced(descriptor, path) is None:
                return descriptor
        except BlockingIOError:
            if not _is_dead_here(_holder(path)) or time.monotonic() > deadline:
                os.close(descriptor)
                raise _taken(path, what) from None
        except OSError as error:
            os.close(descriptor)
            raise TrainingError(
                f"{what}: its file system refuses locks ({error.strerror}), so two runs could "
                f"write into it: mount it with locks (Lustre: -o flock) or choose another place "
                f"with run=PATH"
            ) from error
        os.close(descriptor)
        time.sleep(0.1)


def _taken(path: Path, what: str) -> TrainingError:
    return TrainingError(
        f"{what}: {_described(_holder(path))} holds its lock; stop that process, or start another "
        f"run with run=PATH"
    )


def _open(path: Path, what: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise TrainingError(
            f"{what}: its lock file {path} cannot be opened: {error.strerror}; it must be a "
            "regular file that this user may write, or missing"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TrainingError(
            f"{what}: its lock file {path} is not a regular file; remove it while no process "
            "trains there"
        )
    return descriptor


def _show(descriptor: int, path: Path, what: str, holder: bytes) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder, 0)
        os.fsync(descriptor)
    except OSError as error:
        raise TrainingError(
            f"{what}: its lock file {path} cannot be written: {error.strerror}"
        ) from error


def _replaced(descriptor: int, path: Path) -> str | None:
    """Why a path no longer names an open file; None while it does."""
    try:
        named = path.lstat()
    except FileNotFoundError:
        is_moved = not path.parent.is_dir()
        return f"{path.parent} was moved or removed" if is_moved else f"{path} was removed"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None if os.path.samestat(named, os.fstat(descriptor)) else f"{path} was replaced"


def _holder(path: Path) -> dict[str, Any]:
    try:
        holder = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_dead_here(holder: Mapping[str, Any]) -> bool:
    """Whether the process named in the lock ran on this host and has ended."""
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
