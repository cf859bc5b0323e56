"""The run folder: lock, append-only logs, row record, and truncation to a step.

    runs/NAME/
      lock                process that trains here now (flock; process, host, time)
      metrics.jsonl ...   logs, one JSON object per line, each written by a single write
      rows/*.parquet      origin and loss of every row, one file per checkpoint
      checkpoints/        written by the trainer

A crash may leave an incomplete last line, and lines of steps after the checkpoint that is resumed.
Readers skip an incomplete line. `truncate` removes both, so that the files after a resume are those
of an uninterrupted run.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linly.errors import ConfigError, TrainingError
from linly.files import fsync_directory, naming, publish, publishing
from linly.records.evaluation_record import EvaluationRecord
from linly.records.row_record import ROW_SCHEMA, RowRecord, as_utf8, read_part, row_table
from linly.records.step_record import StepRecord
from linly.runs.locks import HeldLock, hold, is_held_by
from linly.runs.log_lines import LineParser, open_log, whole_lines

LOGS = ("metrics", "evaluations", "events", "samples", "quarantine", "decisions")
"""Logs of a run; each is `NAME.jsonl`."""

RECORD_LOGS = frozenset({"metrics", "evaluations"})
"""Logs whose lines are records with a class of their own."""

KEPT_WHOLE = frozenset({"decisions"})
"""Logs that `truncate` does not shorten."""

EVALUATION_LOGS = frozenset({"evaluations", "samples"})
"""Logs written by evaluations."""

_MADE_FIRST = ("lock", "rows", "checkpoints")
"""Files created first in a run folder, by which a killed start is recognized."""

_LAUNCHER_SUFFIXES = frozenset({".log", ".out", ".err"})
"""Suffixes of launcher logs, which may exist in the folder before the run."""

_NAMES_SHOWN = 5
_PART_BYTES = 1 << 20

_PART_NAME = re.compile(r"step-(\d{8,})-(\d{8,})\.parquet")


class RunFolder:
    """A run's folder, written by the one process that holds the lock and readable by others."""

    def __init__(self, path: Path) -> None:
        """Use `create_or_open` or `open`, which check the path first."""
        self.path = path
        self._descriptors: dict[str, int] = {}
        self._held: HeldLock | None = None

    @classmethod
    def create_or_open(cls, path: Path) -> RunFolder:
        """The run folder at `path`, created if missing.

        Raises:
            ConfigError: If `check_place` refuses the path, or the folder cannot be created.
        """
        check_place(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                (path / "lock").touch(exist_ok=False)  # a start that is refused changes nothing
            (path / "rows").mkdir(exist_ok=True)
            (path / "checkpoints").mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"run folder {path}: cannot be created: {error.strerror} ({error.filename}); "
                f"choose another with run=PATH"
            ) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run at `path`, for reading.

        Raises:
            ConfigError: If there is no run.
        """
        if not (path / "rows").is_dir() and not (path / "metrics.jsonl").is_file():
            near = path.parent if path.parent.is_dir() else Path()
            runs = sorted(entry.parent.name for entry in near.glob("*/metrics.jsonl"))
            found = f"runs in {near}: {', '.join(runs)}" if runs else f"{near} holds no run"
            raise ConfigError(f"no run at {path}: it has neither metrics.jsonl nor rows/; {found}")
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def rows(self) -> Path:
        """Folder of the row record's parts."""
        return self.path / "rows"

    @contextmanager
    def lock(self) -> Iterator[str]:
        """Hold the run for this process, and yield the token that other ranks look for.

        Raises:
            TrainingError: If another process trains in this folder.
        """
        with hold(self.path / "lock", f"run folder {self.path}") as self._held:
            try:
                yield self._held.token
            finally:
                self._held = None

    def check_lock(self) -> None:
        """Check that a lock held by this process is still valid; call before a write.

        Raises:
            TrainingError: If the lock file or the run folder was removed or replaced.
        """
        if self._held is not None:
            self._held.check()

    def check_token(self, token: str, *, timeout_s: float = 30.0) -> None:
        """Check that this process sees the same folder as the lock's holder.

        Raises:
            TrainingError: If it sees another folder; the error names this host.
        """
        if not is_held_by(self.path / "lock", token, timeout_s=timeout_s):
            raise TrainingError(
                f"host {socket.gethostname()} does not see the run folder of the first rank at "
                f"{self.path.absolute()}: the folder must be on a file system that all nodes "
                f"share; choose one with run=PATH"
            )

    # -- logs ---------------------------------------------------------------------------------

    def append_step(self, record: StepRecord) -> None:
        """Append a line to metrics.jsonl; raises as `append` does."""
        self.append("metrics", record.to_json())

    def append_evaluation(self, record: EvaluationRecord) -> None:
        """Append a line to evaluations.jsonl; raises as `append` does."""
        self.append("evaluations", record.to_json())

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Append a line to a log in a single write, of which a reader sees all or the beginning.

        Args:
            name: One of LOGS.
            record: Record of JSON values and numpy numbers, with a "step"; NaN is written as null.

        Raises:
            TrainingError: If the line does not fit on the disk (the log is left unchanged), or if
                `check_lock` fails.
        """
        assert name in LOGS, name
        assert isinstance(record.get("step"), int), f"{name}: a record needs its step"
        self.check_lock()
        line = _dump(record) + b"\n"
        descriptor = self._descriptor(name)
        size_bytes = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, line)
        except OSError as error:
            raise TrainingError(f"{self._log(name)}: {error.strerror}") from error
        if written != len(line):
            os.ftruncate(descriptor, size_bytes)
            raise TrainingError(
                f"{self._log(name)}: only {written} of {len(line)} bytes could be written; "
                f"is the disk full?"
            )

    def append_event(self, step: int, kind: str, text: str, **details: Any) -> None:
        """Append a line to events.jsonl; raises as `append` does.

        Args:
            step: Number of steps taken.
            kind: Kind of the event, such as "checkpoint".
            text: Description of the event.
            **details: Further entries of the line.
        """
        stamp = {"step": step, "time": time.time(), "kind": kind}
        self.append("events", stamp | {"text": text} | details)

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a log in order, as JSON objects; an incomplete last line is skipped.

        Raises:
            TrainingError: If a complete line is not a valid record of this log (file:line).
        """
        for parser, line in self._lines(name):
            yield parser.parse(line)

    def read_steps(self) -> Iterator[StepRecord]:
        """The steps of metrics.jsonl; raises as `read` does."""
        for parser, line in self._lines("metrics"):
            yield parser.parse_record(line)

    def read_evaluations(self) -> Iterator[EvaluationRecord]:
        """The evaluations of evaluations.jsonl; raises as `read` does."""
        for parser, line in self._lines("evaluations"):
            yield parser.parse_record(line)

    def _lines(self, name: str) -> Iterator[tuple[LineParser, bytes]]:
        path = self._log(name)
        if not path.exists():
            return
        parser = LineParser(path)
        with open_log(path) as log:
            for line in whole_lines(log):
                yield parser, line

    def _log(self, name: str) -> Path:
        assert name in LOGS, name
        return self.path / f"{name}.jsonl"

    def _descriptor(self, name: str) -> int:
        """Open a log for appending, after removing an incomplete last line."""
        if name not in self._descriptors:
            _cut_half_line(self._log(name))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptors[name] = os.open(self._log(name), flags, 0o644)
        return self._descriptors[name]

    # -- row record ---------------------------------------------------------------------------

    def write_rows(self, rows: Sequence[RowRecord]) -> None:
        """Add a part to the row record, atomically; it is on disk when this returns.

        Args:
            rows: Rows of complete steps, ascending, after all written steps; if empty, no part.
        """
        if not rows:
            return
        self.check_lock()
        first, last = rows[0].step, rows[-1].step
        parts = self.row_parts()
        assert all(a.step <= b.step for a, b in pairwise(rows)), "unordered"
        assert not parts or parts[-1][1] < first, f"steps {first}-{last} are written already"
        self._publish_part(row_table(rows), first, last)

    def read_rows(self, columns: Sequence[str] = ROW_SCHEMA.names) -> Iterator[pa.Table]:
        """The parts of the row record in order, each a table with these columns."""
        for _, _, path in self.row_parts():
            yield read_part(path, columns)

    def row_parts(self) -> list[tuple[int, int, Path]]:
        """(first step, last step, path) of each part.

        If a crash left both a shortened part and its original, the shortened part counts.
        """
        found: dict[int, tuple[int, int, Path]] = {}
        for path in self.rows.glob("step-*.parquet"):
            match = _PART_NAME.fullmatch(path.name)
            if match:
                part = (int(match[1]), int(match[2]), path)
                found[part[0]] = min(part, found.get(part[0], part))
        return [found[first] for first in sorted(found)]

    def _publish_part(self, table: pa.Table, first: int, last: int) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        path = self.rows / f"step-{first:08d}-{last:08d}.parquet"
        publish(path, sink.getvalue().to_pybytes())

    # -- truncation and durability ------------------------------------------------------------

    def truncate(self, step: int, *, evaluated_step: int | None = None) -> None:
        """Remove everything after `step` (-1: all), and every incomplete last line.

        Call it while holding the lock, to resume the checkpoint of `step`.

        Args:
            step: Last step to keep.
            evaluated_step: Last step whose evaluation is kept; None for `step`. Later evaluations
                are repeated.
        """
        self.check_lock()
        self.close()
        evaluated_step = step if evaluated_step is None else evaluated_step
        for name in LOGS:
            path = self._log(name)
            _cut_half_line(path)
            if name not in KEPT_WHOLE:
                self._truncate_log(path, evaluated_step if name in EVALUATION_LOGS else step)
        self._truncate_rows(step)
        fsync_directory(self.path)

    def _truncate_log(self, path: Path, step: int) -> None:
        if not path.exists():
            return
        spans = _kept_spans(path, step)
        size_bytes = path.stat().st_size
        if sum(end - start for start, end in spans) == size_bytes:
            return
        with open_log(path) as log, publishing(path) as shortened:
            for span in spans:
                shortened.writelines(_parts(log, *span))

    def _truncate_rows(self, step: int) -> None:
        for first, last, path in self.row_parts():
            if first <= step < last:
                table = read_part(path)
                kept = table.filter(pc.less_equal(table["step"], step))
                self._publish_part(kept, first, step)
        for path in self.rows.glob("step-*.parquet"):
            match = _PART_NAME.fullmatch(path.name)
            if match and int(match[2]) > step:
                path.unlink()
        fsync_directory(self.rows)

    def fsync(self) -> None:
        """Flush all appended lines to disk; call it before a checkpoint is published."""
        for name, descriptor in self._descriptors.items():
            with naming(self._log(name), self.path):
                os.fsync(descriptor)
        fsync_directory(self.path)

    def close(self) -> None:
        """Close the logs; a later `append` reopens them."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def enclosing_run(path: Path) -> Path | None:
    """The run folder that contains `path`, links resolved; None if there is none."""
    return next(filter(_is_run, path.resolve().parents), None)


def check_place(path: Path) -> None:
    """Check that a run exists or may start at `path`; writes nothing.

    A run that starts removes and overwrites files with the names of its own.

    Raises:
        ConfigError: If the path exists and is neither a run nor an empty folder (launcher logs are
            allowed), or if a new run would be inside the folder of another run.
    """
    elsewhere = "choose another with run=PATH"
    try:
        found = sorted(path.iterdir())
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise ConfigError(f"run folder {path}: {error.strerror}; {elsewhere}") from error
    if _is_run(path):
        return
    outer = enclosing_run(path)
    if outer is not None:
        raise ConfigError(
            f"run folder {path}: is inside the folder of another run, {outer}; {elsewhere}"
        )
    others = [entry for entry in found if not _may_come_first(entry)]
    if others:
        names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in others]
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        raise ConfigError(
            f"run folder {path}: is not a run and is not empty: found {shown}{more}, which a run "
            f"could overwrite; {elsewhere}: a missing or empty folder, or a run"
        )


def _is_run(path: Path) -> bool:
    """Whether the folder is a run; a copy of one has no lock."""
    begun = all((path / name).exists() for name in _MADE_FIRST)
    return begun or (path / "decisions.jsonl").is_file()


def _may_come_first(entry: Path) -> bool:
    """Whether an entry is allowed in a new run's folder: from a killed start, or a log."""
    if entry.is_dir():
        return entry.name in (*_MADE_FIRST, "logs")
    return (
        entry.name in _MADE_FIRST
        or entry.name.startswith(".")
        or entry.suffix in _LAUNCHER_SUFFIXES
    )


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
