"""Producers: processes that build a bounded number of rows ahead of the training.

The training process reads rows from their sockets and never waits longer than `timeout_s`. If a
producer died, hangs in a read or was stopped, the error names the source it was working on: the
producer writes it into a small shared page before each piece of work.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from linly import errors
from linly.data.loading.assignment import assign_sources
from linly.data.loading.child_process import (
    STARTUP_S,
    Channel,
    ChannelClosed,
    exit_when_closed,
    start_child,
)
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.mixer import resumed_apportioner
from linly.data.mixing.source_stream import Exhausted
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan, make_mixer
from linly.errors import DataError, LinlyError

PREFETCH_BYTES = 256 << 20
"""Upper limit on the bytes of prefetched rows, in addition to the limit on their number."""

SENT_TOGETHER = 16
"""Upper limit on the rows of a message: waking two processes costs as much as a row."""


class RowStream(Protocol):
    """The global stream of rows, built in this process or in others."""

    @property
    def exhausted(self) -> Exhausted | None:
        """The source that ended the stream before its last row, if one did."""

    def __iter__(self) -> Iterator[MixedRow]:
        """The stream itself."""

    def __next__(self) -> MixedRow:
        """Return the next row."""

    def close(self) -> None:
        """End the processes that build the rows."""


class ProducedRows:
    """A `RowStream` built by producer processes, each of which builds the rows of some sources.

    The schedule determines the source of each row, and so the producer to read. A row that another
    producer has built further ahead waits until it is due.
    """

    def __init__(
        self,
        plan: StreamPlan,
        state: MixerState,
        *,
        num_producers: int,
        prefetch_rows: int,
        timeout_s: float,
        prefetch_bytes: int = PREFETCH_BYTES,
    ) -> None:
        """Start the producers at a state.

        Args:
            plan: Plan of the stream.
            state: State to resume from.
            num_producers: Upper limit on the producers; see `assign_sources`.
            prefetch_rows: Upper limit on the prefetched rows (at least one per producer).
            timeout_s: Longest wait for a row, in seconds.
            prefetch_bytes: Upper limit on their bytes (at least one row per producer).
        """
        self._schedule = resumed_apportioner(plan.phases, state)
        self._producers: list[_Producer] = []
        self._producer_of: dict[str, _Producer] = {}
        self.exhausted: Exhausted | None = None
        assigned = assign_sources(plan.phases, state.row, num_producers)
        for names in assigned:
            producer = _Producer(
                plan,
                state,
                names,
                prefetch_rows=max(prefetch_rows // len(assigned), 1),
                prefetch_bytes=prefetch_bytes // len(assigned),
                timeout_s=timeout_s,
            )
            self._producers.append(producer)
            self._producer_of |= dict.fromkeys(names, producer)

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the producers."""
        return [producer.process_id for producer in self._producers]

    def __iter__(self) -> Iterator[MixedRow]:
        """The stream itself."""
        return self

    def __next__(self) -> MixedRow:
        """Return the next row as soon as it is available.

        Raises:
            DataError: If a source cannot return its row, or the producer is gone or returns no row
                within `timeout_s`.
        """
        if not self._producers:
            raise StopIteration
        try:
            message = self._producer_of[next(self._schedule)].receive()
        except (StopIteration, LinlyError):
            self.close()
            raise
        if isinstance(message, MixedRow):
            return message
        self.close()
        assert message.exhausted is not None, "a producer ended before the schedule"
        self.exhausted = message.exhausted
        raise StopIteration

    def close(self) -> None:
        """End the producers."""
        for producer in self._producers:
            producer.kill()
        self._producers = []


@dataclass(frozen=True, slots=True)
class _Request:
    plan: StreamPlan
    state: MixerState
    sources: frozenset[str]
    prefetch_rows: int
    prefetch_bytes: int
    activity: int


@dataclass(frozen=True, slots=True)
class _Ready:
    pass


@dataclass(frozen=True, slots=True)
class _End:
    exhausted: Exhausted | None


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: str
    text: str


class _Producer:
    """One producer process, as seen by its reader."""

    def __init__(
        self,
        plan: StreamPlan,
        state: MixerState,
        sources: frozenset[str],
        *,
        prefetch_rows: int,
        prefetch_bytes: int,
        timeout_s: float,
    ) -> None:
        self._timeout_s = timeout_s
        self._patience_s = timeout_s + STARTUP_S
        self._activity = _Activity.create()
        self._received: deque[object] = deque()
        self._child = start_child(run_producer, pass_fds=(self._activity.descriptor,))
        self._child.channel.send(
            _Request(plan, state, sources, prefetch_rows, prefetch_bytes, self._activity.descriptor)
        )

    @property
    def process_id(self) -> int:
        return self._child.process.pid

    def receive(self) -> MixedRow | _End:
        """Return the next row, or `_End` after the last one.

        Raises:
            DataError: If the process is gone or does not return a row in time.
            LinlyError: If the producer failed with it.
        """
        message = self._next()
        if isinstance(message, _Ready):
            self._patience_s = self._timeout_s
            message = self._next()
        if isinstance(message, _Failure):
            kind: type[LinlyError] = getattr(errors, message.kind)
            raise kind(message.text)
        assert isinstance(message, MixedRow | _End)
        return message

    def kill(self) -> None:
        self._child.kill()
        self._activity.close()

    def _next(self) -> object:
        if not self._received:
            self._received.extend(self._next_messages())
        return self._received.popleft()

    def _next_messages(self) -> list[object]:
        try:
            messages: list[object] = self._child.channel.receive(self._patience_s)
            return messages
        except TimeoutError:
            raise DataError(
                f"no row arrived for {self._patience_s:g} s (data.timeout_s): the producer, "
                f"process {self.process_id}, hangs {self._activity.read()}; check that its "
                f"storage responds, or raise data.timeout_s"
            ) from None
        except ChannelClosed:
            raise DataError(
                f"the producer, process {self.process_id}, ended ({self._child.ending()}) "
                f"{self._activity.read()}; check whether memory ran out (dmesg), then start again"
            ) from None


def run_producer(channel: Channel) -> None:
    """Entry point of the producer process: send rows until the stream or the parent ends."""
    request: _Request = channel.receive(None)
    exit_when_closed(channel)
    activity = _Activity(request.activity)
    buffer = _Buffer(request.prefetch_rows, request.prefetch_bytes)
    sender = threading.Thread(target=_send, args=(channel, buffer), name="sender", daemon=True)
    sender.start()
    try:
        mixer = make_mixer(
            request.plan,
            request.state,
            only=request.sources,
            working_on=activity.write,
        )
        buffer.put(_Ready(), 0)
        for row in mixer:
            buffer.put(row, _size_bytes(row))
        last: _End | _Failure = _End(mixer.exhausted)
    except LinlyError as error:
        last = _Failure(type(error).__name__, str(error))
    except Exception:
        text = f"the producer failed {activity.read()}:\n{traceback.format_exc()}"
        last = _Failure(DataError.__name__, text)
    buffer.put(last, 0)
    sender.join()
    channel.wait_until_closed()


def _send(channel: Channel, buffer: _Buffer) -> None:
    while True:
        messages = buffer.get(SENT_TOGETHER)
        try:
            channel.send(messages)
        except ChannelClosed:
            os._exit(1)
        if isinstance(messages[-1], _End | _Failure):
            return


def _size_bytes(mixed: MixedRow) -> int:
    row = mixed.row
    return row.ids.nbytes + row.labels.nbytes + 200 * (1 + len(row.spans) + len(row.bad))


class _Buffer:
    """Rows built but not sent yet; `put` blocks while the buffer is full."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._items: deque[tuple[object, int]] = deque()
        self._size_bytes = 0
        self._changed = threading.Condition()

    def put(self, item: object, size_bytes: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._items or not self._full())
            self._items.append((item, size_bytes))
            self._size_bytes += size_bytes
            self._changed.notify_all()

    def get(self, max_items: int) -> list[object]:
        """Return the available items, at least one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items))
            taken = [self._items.popleft() for _ in range(min(max_items, len(self._items)))]
            self._size_bytes -= sum(size_bytes for _, size_bytes in taken)
            self._changed.notify_all()
            return [item for item, _ in taken]

    def _full(self) -> bool:
        return len(self._items) >= self._max_rows or self._size_bytes >= self._max_bytes


class _Activity:
    """A page shared by two processes: the source in work, readable at any time."""

    _SIZE = 4096
    _LENGTH = struct.Struct("<H")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, self._SIZE)
        self._last = ("", "")

    @classmethod
    def create(cls) -> _Activity:
        with tempfile.TemporaryFile() as file:
            file.truncate(cls._SIZE)
            return cls(os.dup(file.fileno()))

    def write(self, source: str, shard: str) -> None:
        if (source, shard) == self._last:
            return
        self._last = (source, shard)
        text = f"while it read {shard} of source {source!r}" if shard else f"in source {source!r}"
        data = text.encode(errors="replace")[: self._SIZE - self._LENGTH.size]
        self._page[: self._LENGTH.size + len(data)] = self._LENGTH.pack(len(data)) + data

    def read(self) -> str:
        (length,) = self._LENGTH.unpack(self._page[: self._LENGTH.size])
        text = self._page[self._LENGTH.size : self._LENGTH.size + length].decode(errors="replace")
        return text or "before its first row"

    def close(self) -> None:
        if not self._page.closed:
            self._page.close()
            os.close(self.descriptor)
