"""One append-only log of a run: single writes, reading, truncation to a step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from linly.errors import TrainingError
from linly.files import naming, publishing
from linly.records.row_record import as_utf8
from linly.runs.log_lines import LineParser, open_log, whole_lines

_PART_BYTES = 1 << 20


class LogFile:
    """A log, opened for appending at its first write."""

    def __init__(self, path: Path) -> None:
        """Use the log at `path`, which need not exist."""
        self.path = path
        self._descriptor: int | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a line in a single write, of which a reader sees all or the beginning.

        Args:
            record: JSON values and numpy numbers; NaN is written as null.

        Raises:
            TrainingError: If the line does not fit on the disk; the log is left unchanged.
        """
        line = _dump(record) + b"\n"
        descriptor = self._opened()
        size_bytes = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, line)
        except OSError as error:
            raise TrainingError(f"{self.path}: {error.strerror}") from error
        if written != len(line):
            os.ftruncate(descriptor, size_bytes)
            raise TrainingError(
                f"{self.path}: only {written} of {len(line)} bytes could be written; "
                f"is the disk full?"
            )

    def lines(self) -> Iterator[tuple[LineParser, bytes]]:
        """Complete lines in order, each with the parser that is to read it next."""
        if not self.path.exists():
            return
        parser = LineParser(self.path)
        with open_log(self.path) as log:
            for line in whole_lines(log):
                yield parser, line

    def truncate(self, step: int | None) -> None:
        """Remove an incomplete last line, and all lines of steps after `step`; None keeps them.

        Raises:
            TrainingError: If a damaged line comes before a kept one.
        """
        self.close()
        _cut_half_line(self.path)
        if step is None or not self.path.exists():
            return
        spans = _kept_spans(self.path, step)
        if sum(end - start for start, end in spans) == self.path.stat().st_size:
            return
        with open_log(self.path) as log, publishing(self.path) as shortened:
            for span in spans:
                shortened.writelines(_parts(log, *span))

    def fsync(self) -> None:
        """Flush appended lines to disk."""
        if self._descriptor is not None:
            with naming(self.path, self.path.parent):
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the log; a later `append` reopens it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        """Open for appending, after removing an incomplete last line."""
        if self._descriptor is None:
            _cut_half_line(self.path)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
        return self._descriptor


def _dump(record: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # a lone surrogate, as in a file name that is not UTF-8
        return orjson.dumps(_clean(record), option=orjson.OPT_SERIALIZE_NUMPY)


def _clean(value: Any) -> Any:
    """The same value with all strings encodable as UTF-8."""
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    return value


def _kept_spans(path: Path, step: int) -> list[tuple[int, int]]:
    """Byte ranges of a log's lines of steps up to `step`.

    A power cut may leave damaged lines at the end of a log, after the lines that a checkpoint
    flushed. They are removed with the lines of later steps.

    Raises:
        TrainingError: If a damaged line comes before a kept one.
    """
    spans: list[tuple[int, int]] = []
    damage: TrainingError | None = None
    parser, start = LineParser(path), 0
    with open_log(path) as log:
        for line in whole_lines(log):
            end = log.tell()
            try:
                is_kept = parser.parse(line)["step"] <= step
            except TrainingError as error:
                damage, is_kept = damage or error, False
            if is_kept and damage is not None:
                raise damage
            if is_kept and spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], end)
            elif is_kept:
                spans.append((start, end))
            start = end
    return spans


def _parts(log: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Bytes [start, end) of a log, in chunks."""
    log.seek(start)
    while start < end:
        part = log.read(min(_PART_BYTES, end - start))
        yield part
        start += len(part)


def _cut_half_line(path: Path) -> None:
    """Remove an incomplete last line, left by an interrupted write."""
    if not path.exists():
        return
    open_log(path).close()  # refuses a pipe, which would block
    with path.open("r+b") as log:
        end = log.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            log.seek(start)
            found = log.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        if position < end:
            log.truncate(position)
            os.fsync(log.fileno())
