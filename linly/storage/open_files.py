"""Local and remote files: reads that resume after transient errors, and blocks read ahead."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from stat import S_ISREG
from typing import Protocol

from linly.storage.local import LocalRanges
from linly.storage.remote import RemoteRanges, describe_file
from linly.storage.retries import PATIENT, Retries, ShortRead
from linly.storage.urls import Location, Url

BLOCK_BYTES = 1 << 20
"""Bytes that a remote stream fetches at once; two blocks are held: the current and the next."""

MIN_FETCH_BYTES = 64 << 10
"""Smallest size of a fetch; each failed fetch halves the size of the next."""

READ_AHEAD_THREADS = 16


class Ranges(Protocol):
    """A file whose ranges can be fetched, one attempt at a time.

    Attributes:
        size_bytes: Size of the file.
    """

    size_bytes: int

    def fetch(self, start: int, size: int) -> bytes:
        """Return at least one byte of the range, from its start."""

    def close(self) -> None:
        """Release its resources."""


class File(io.RawIOBase):
    """A file for reading, by position or as a stream; its size does not change.

    Attributes:
        location: Path or URL of the file.
        size_bytes: Size of the file.
    """

    def __init__(self, location: Location, ranges: Ranges, retries: Retries) -> None:
        """Use `open_file`."""
        self.location = location
        self.size_bytes = ranges.size_bytes
        self._ranges = ranges
        self._retries = retries
        self._position = 0

    def read_at(self, start: int, size: int, first: Callable[[], bytes] | None = None) -> bytes:
        """Read all of a range, cut at the file's end.

        A dropped transfer resumes at the byte it reached.

        Args:
            start: Start of the range.
            size: Size of the range, in bytes.
            first: Result of a first attempt that was started already.

        Raises:
            DataError: If it cannot be read; names the position.
        """
        end = min(start + size, self.size_bytes)
        data, failures, ask = b"", 0, size
        while (position := start + len(data)) < end:
            try:
                if first is not None:
                    attempt, first = first, None
                    piece = attempt()
                else:
                    piece = self._ranges.fetch(position, min(ask, end - position))
                if not piece:
                    raise ShortRead("no byte came")
            except Exception as error:
                failures += 1
                ask = max(MIN_FETCH_BYTES, ask // 2)
                what = f"{self.location}: reading byte {position:,} of {self.size_bytes:,}"
                self._retries.pause_or_raise(error, failures, what)
            else:
                failures = 0
                data = data + piece if data else piece
        return data

    def read(self, size: int = -1, /) -> bytes:
        """Read the next `size` bytes (-1: all), b"" at the end.

        Raises:
            DataError: If `read_at` fails.
        """
        data = self.read_at(self._position, self.size_bytes if size < 0 else size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._ranges.close()
        super().close()


class AheadFile(File):
    """A file read from start to end; the next block is fetched while one is used."""

    def __init__(self, location: Location, ranges: Ranges, retries: Retries) -> None:
        """Use `open_file`."""
        super().__init__(location, ranges, retries)
        self._block = memoryview(b"")
        self._next: Future[bytes] | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes of the current block; b"" at the end.

        Raises:
            DataError: If `read_at` fails.
        """
        if not self._block:
            self._take_block()
        data = bytes(self._block[:size] if size >= 0 else self._block)
        self._block = self._block[len(data) :]
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raise `io.UnsupportedOperation`."""
        raise io.UnsupportedOperation("a file that is read ahead has one direction")

    def seekable(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Close the file; a pending fetch is discarded."""
        if self._next is not None:
            self._next.cancel()
        self._block = memoryview(b"")
        super().close()

    def _take_block(self) -> None:
        ahead = None if self._next is None else self._next.result
        self._block = memoryview(self.read_at(self._position, BLOCK_BYTES, ahead))
        after = self._position + len(self._block)
        size = min(BLOCK_BYTES, self.size_bytes - after)
        self._next = _threads().submit(self._ranges.fetch, after, size) if size > 0 else None


@dataclass(frozen=True, slots=True)
class FileState:
    """State of a file, known without reading it.

    Attributes:
        version: Version of a remote file's content (an ETag or a hash); None if unknown.
        is_regular: Whether it is a regular file, not a pipe or a device.
    """

    size_bytes: int
    version: str | None = None
    is_regular: bool = True


def state_of(location: Location, retries: Retries = PATIENT) -> FileState:
    """Return the state of a file.

    Raises:
        DataError: If it does not exist, or its storage does not respond.
        ConfigError: If it is remote, and the packages of its scheme are not installed.
    """
    what = f"{location}: cannot be found"
    if isinstance(location, Url):
        file = retries.call(lambda: describe_file(location), what)
        return FileState(file.size_bytes, file.version)
    status = retries.call(location.stat, what)
    return FileState(status.st_size, is_regular=S_ISREG(status.st_mode))


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READ_AHEAD_THREADS, thread_name_prefix="read-ahead")


def open_file(location: Location, retries: Retries = PATIENT, *, is_stream: bool = False) -> File:
    """Open a file.

    Args:
        location: Path or URL of the file.
        retries: Retry policy of its storage.
        is_stream: Whether it is read from start to end, so that remote blocks are fetched ahead.

    Raises:
        DataError: If it does not exist, or cannot be opened.
        ConfigError: If it is remote, and the packages of its scheme are not installed.
    """
    what = f"{location}: cannot be opened"
    if isinstance(location, Url):
        ranges: Ranges = retries.call(lambda: RemoteRanges(location), what)
        return (AheadFile if is_stream else File)(location, ranges, retries)
    return File(location, retries.call(lambda: LocalRanges(location), what), retries)
