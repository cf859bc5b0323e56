"""Faults at the n-th operation on the disk, and files that may not grow."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from linly.training.checkpoints import checkpoints

_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
_CREATING = ("open", "os.mkdir", "fsync", "write")
_listener: Callable[[str], None] | None = None
_folder = ""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listener is None or event not in _EVENTS or not str(arguments[0]).startswith(_folder):
        return
    is_reading = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if is_reading:
        return
    try:
        _listener(event)
    except OSError as error:  # the system names the path as well
        raise OSError(error.errno, error.strerror, str(arguments[0])) from None


sys.addaudithook(_hook)  # cannot be taken away again: it sleeps without a listener


@contextmanager
def listening(folder: Path, listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener` before every operation that changes `folder`, with its name."""
    global _listener, _folder
    fsync, save_file = os.fsync, checkpoints.save_file

    def synced(descriptor: int) -> None:
        listener("fsync")
        fsync(descriptor)

    def saved(tensors: dict[str, Any], path: Path) -> None:
        listener("write")
        save_file(tensors, path)
        data = path.read_bytes()
        os.truncate(path, len(data) // 2)
        listener("write")  # a fault here finds half a file
        path.write_bytes(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(checkpoints, "save_file", saved)
        _folder, _listener = str(folder), listener
        try:
            yield
        finally:
            _listener = None


def operations(folder: Path, save: Callable[[], object]) -> list[str]:
    """The operations of a save, in order."""
    seen: list[str] = []
    with listening(folder, seen.append):
        save()
    return seen


@contextmanager
def full_from(folder: Path, number: int) -> Iterator[None]:
    """A disk that is full from the n-th operation on: nothing new goes in, the rest works."""
    with failing_from(folder, number, errno.ENOSPC, _CREATING):
        yield


@contextmanager
def failing_from(
    folder: Path, number: int, code: int, events: tuple[str, ...] = (*_CREATING, "os.rename")
) -> Iterator[None]:
    """A disk that refuses these operations from the n-th on, by an error of the system."""
    count = 0

    def listener(event: str) -> None:
        nonlocal count
        count += 1
        if count > number and event in events:
            raise OSError(code, os.strerror(code))

    with listening(folder, listener):
        yield


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this size, whatever library writes it (RLIMIT_FSIZE)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def killed_at(folder: Path, number: int, save: Callable[[], object]) -> int:
    """Save in a forked process that kills itself before its n-th operation; its wait status."""
    count = 0

    def listener(event: str) -> None:
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    child = os.fork()
    if child == 0:
        signal.alarm(120)  # ends one that hangs, by another signal
        try:
            with listening(folder, listener):
                save()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]
