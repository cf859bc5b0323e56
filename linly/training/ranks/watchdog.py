"""Watchdog that ends a job with a hung rank, and names that rank.

Every few seconds, each rank writes a heartbeat with its current place to the launcher's store. A
rank that has waited in one place for longer than the timeout reads the others' heartbeats. A rank
whose heartbeat has stopped is suspended, dead or disconnected. A rank with a heartbeat that does
not wait is busy elsewhere. The watchdog prints this and ends its process, and the launcher ends the
others.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import orjson
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from linly.training.ranks.rank_store import launcher_store

MARGIN = timedelta(minutes=2)
"""Maximum time after the timeout to read the heartbeats and end the process."""

_LONGEST_PERIOD_S = 10.0
_ROUNDS = 6
"""Periods for reading the heartbeats; a live rank beats within half of them."""

_MAX_NAMED = 8
_MAX_CALLS = 6


@dataclass(frozen=True, slots=True)
class Report:
    """Heartbeat of a rank.

    Attributes:
        beat: Counter of heartbeats; it stops if the rank does not respond.
        where: Last place where the rank waited or waits for others.
        is_waiting: Whether the rank is waiting now.
    """

    beat: int
    host: str
    where: str
    is_waiting: bool

    def __str__(self) -> str:
        """Description of where the rank is."""
        if self.is_waiting:
            return f"waits too, in: {self.where}"
        return f"answers, but does not wait; its last wait: {self.where}"


class Watchdog:
    """Watches the waits of this process from a background thread."""

    def __init__(self, rank: int, world_size: int, *, timeout_s: float) -> None:
        """Connect to the ranks' store at MASTER_ADDR."""
        self._rank = rank
        self._world_size = world_size
        self._store = _own_store()
        self._asked = _own_store()  # a separate connection, since a read may block forever
        self._timeout_s = timeout_s
        self._period_s = min(_LONGEST_PERIOD_S, timeout_s / 5)
        self._place = "the start"
        self._began: float | None = None
        self._beat = 0

    def start(self) -> None:
        """Start watching, until the process ends."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def waiting(self, where: str) -> Iterator[None]:
        """Mark a section of the main thread that may wait for other ranks.

        Sections may be nested: the outermost gives the name, and the time is measured since the
        last of them began or ended.
        """
        is_within = self._began is not None
        if not is_within:
            self._place = where
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = time.monotonic() if is_within else None

    def _watch(self) -> None:
        while True:
            began = self._began
            self._tell(is_waiting=began is not None)
            if began is not None and time.monotonic() - began > self._timeout_s:
                self._end(time.monotonic() - began)
            time.sleep(self._period_s)

    def _tell(self, *, is_waiting: bool) -> None:
        self._beat += 1
        report = (self._beat, socket.gethostname(), self._place, is_waiting)
        try:
            self._store.set(str(self._rank), orjson.dumps(report).decode())
        except RuntimeError:  # the store ended with rank 0: the launcher ends this rank
            return

    def _end(self, waited_s: float) -> None:
        """Report what is known and exit; nothing else is certain to return."""
        say(
            f"error: rank {self._rank} on host {socket.gethostname()} has waited {waited_s:.0f} s "
            f"(training.collective_timeout_s) for the other ranks, in: {self._place}"
        )
        lines: list[str] = []
        asking = threading.Thread(target=lambda: lines.extend(self._others()), daemon=True)
        asking.start()
        for _ in range(_ROUNDS if self._rank else 2 * _ROUNDS):  # rank 0 may hold the store
            self._tell(is_waiting=True)  # keep the heartbeat for the others
            time.sleep(self._period_s)
        unknown = ["rank 0 does not answer, and the ranks' store is in its process or its launcher"]
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = traceback.format_stack(frame)[-_MAX_CALLS:] if frame is not None else []
        say("\n".join(f"error: {line}" for line in lines or unknown) + "\n" + "".join(stack))
        os._exit(1)

    def _others(self) -> list[str]:
        """A line for each rank that the others wait for, or one for all."""
        ranks = [rank for rank in range(self._world_size) if rank != self._rank]
        before = {rank: self._read(rank) for rank in ranks}
        time.sleep(_ROUNDS / 2 * self._period_s)
        lines = []
        for rank in ranks:
            report, earlier = self._read(rank), before[rank]
            if report is None:
                lines.append(f"rank {rank} has never answered")
            elif earlier is not None and earlier.beat == report.beat:
                lines.append(
                    f"rank {rank} on host {report.host} does not answer: stopped, dead, or cut off "
                    f"from the network; its last wait: {report.where}"
                )
            elif not report.is_waiting or report.where != self._place:
                lines.append(f"rank {rank} on host {report.host} {report}")
        if len(lines) > _MAX_NAMED:
            lines[_MAX_NAMED:] = [f"and {len(lines) - _MAX_NAMED} more ranks"]
        return lines or ["all ranks answer and wait at the same place: check the network"]

    def _read(self, rank: int) -> Report | None:
        if not self._asked.check([str(rank)]):
            return None
        return Report(*orjson.loads(self._asked.get(str(rank))))


def _own_store() -> Store:
    return PrefixStore("linly", launcher_store(MARGIN))


def say(text: str) -> None:
    """Write to stderr immediately."""
    print(text, file=sys.stderr, flush=True)
