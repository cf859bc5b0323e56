"""Helper processes: a fresh interpreter connected by a socket, which ends with its parent.

`multiprocessing` is not used: its spawned children import the program's main module again, and with
it torch if a training script imports it at the top. These import only the modules of their
function. Messages are pickled, between a process and a child that it started itself; nothing is
read from a file or from a network.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

STARTUP_S = 120.0
"""Seconds to wait for a child's first message: on a busy node an interpreter starts slowly."""

_HEADER = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from linly.data.loading.child_process import child_main; child_main(*sys.argv[2:])"
)


class ChannelClosed(Exception):
    """The other end is gone."""


class Channel:
    """Messages over a socket, in order."""

    def __init__(self, connection: socket.socket) -> None:
        """Take ownership of the socket."""
        self._socket = connection

    def send(self, message: object) -> None:
        """Send a message; blocks while the other end does not read.

        Raises:
            ChannelClosed: If the other end is gone.
        """
        data = pickle.dumps(message, protocol=5)
        try:
            self._socket.sendall(_HEADER.pack(len(data)) + data)
        except (BrokenPipeError, ConnectionError, OSError) as error:
            raise ChannelClosed from error

    def receive(self, timeout_s: float | None) -> Any:
        """Return the next message.

        Raises:
            TimeoutError: If nothing arrived for `timeout_s`, not even a part of the message.
            ChannelClosed: If the other end is gone.
        """
        self._socket.settimeout(timeout_s)
        (length,) = _HEADER.unpack(self._read(_HEADER.size))
        return pickle.loads(self._read(length))  # noqa: S301 (from our own child or parent)

    def wait_until_closed(self) -> None:
        """Block until the other end is gone; it must not send meanwhile."""
        try:
            while self._socket.recv(1):
                pass
        except OSError:
            return

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view, received = memoryview(data), 0
        while received < length:
            try:
                count = self._socket.recv_into(view[received:])
            except socket.timeout as error:  # noqa: UP041 (another class in Python 3.10's docs)
                raise TimeoutError from error
            except OSError as error:
                raise ChannelClosed from error
            if count == 0:
                raise ChannelClosed
            received += count
        return data


@dataclass(frozen=True, slots=True)
class Child:
    """A running helper process and the channel to it."""

    process: subprocess.Popen[bytes]
    channel: Channel

    def kill(self) -> None:
        """Kill the process, even if it is stopped, and wait for its end."""
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def ending(self) -> str:
        """Reason for its end, in words."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its channel"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"


def start_child(target: Callable[[Channel], None], *, pass_fds: Sequence[int] = ()) -> Child:
    """Run a module-level function in a new interpreter, with a channel to this process."""
    ours, theirs = socket.socketpair()
    from_main_thread = threading.current_thread() is threading.main_thread()
    arguments = [
        json.dumps([entry or os.getcwd() for entry in sys.path]),
        target.__module__,
        target.__qualname__,
        str(theirs.fileno()),
        # The kernel's signal reports the end of the *thread* that starts a child.
        str(os.getpid()) if from_main_thread else "0",
    ]
    with theirs:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and code)
            [sys.executable, "-I", "-c", _BOOT, *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), *pass_fds),
        )
    return Child(process, Channel(ours))


def child_main(module: str, function: str, descriptor: str, parent: str) -> None:
    """Entry point of a new interpreter.

    Signals meant for the program are handled by the parent: it may still need rows to finish its
    step. The parent's end ends this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if int(parent):
        _die_with(int(parent))
    channel = Channel(socket.socket(fileno=int(descriptor)))
    try:
        getattr(importlib.import_module(module), function)(channel)
    except ChannelClosed:
        return


def exit_when_closed(channel: Channel) -> None:
    """Watch the channel in a thread and exit the process when the parent is gone."""

    def watch() -> None:
        channel.wait_until_closed()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent, even if it is stopped (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
