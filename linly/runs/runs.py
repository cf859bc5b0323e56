"""The run folder: its lock, its append-only logs, its row record, and going back to a step.

    runs/NAME/
      lock                who trains here now (flock; process, host, time)
      metrics.jsonl ...   logs, one JSON object a line, each written by a single write
      rows/*.parquet      where every row came from and what it cost, one file a checkpoint
      checkpoints/        written by the trainer

A crash may leave two things behind: a last line without its end, and lines of steps after the
checkpoint that is resumed. Readers skip the first; `truncate` removes both, so that what is on
disk after a resume is what an undisturbed run would have written.
"""

from __future__ import annotations

import os
import re
import socket
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
from linly.runs.locks import HeldLock, hold, is_held_by
from linly.runs.log_lines import LineParser, open_log, whole_lines
from linly.runs.row_record import ROW_SCHEMA, RowRecord, as_utf8, read_part, row_table

LOGS = ("metrics", "evaluations", "events", "samples", "quarantine", "decisions")
"""The logs of a run; each is `NAME.jsonl`."""

KEPT_WHOLE = frozenset({"decisions"})
"""Logs that going back to a step leaves alone: what was decided stays decided."""

EVALUATION_LOGS = frozenset({"evaluations", "samples"})
"""Logs that an evaluation writes."""

_MADE_FIRST = ("lock", "rows", "checkpoints")
"""What a run's folder holds before anything else is written there, so that a killed start shows."""

_LAUNCHER_SUFFIXES = frozenset({".log", ".out", ".err"})
"""Files that shells and launchers leave in a folder, which may be there before the run is."""

_NAMES_SHOWN = 5
_PART_BYTES = 1 << 20

_PART_NAME = re.compile(r"step-(\d{8,})-(\d{8,})\.parquet")


class RunFolder:
    """A run's folder. One process writes (it holds the lock); any number may read meanwhile."""

    def __init__(self, path: Path) -> None:
        """Use `create_or_open` or `open`, which look at what is there first."""
        self.path = path
        self._descriptors: dict[str, int] = {}
        self._held: HeldLock | None = None

    @classmethod
    def create_or_open(cls, path: Path) -> RunFolder:
        """The folder at `path`, made if it is not there.

        Raises:
            ConfigError: As `check_place`, or it cannot be made.
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
                f"run folder {path}: cannot be made: {error.strerror} ({error.filename}); "
                f"choose another with run=PATH"
            ) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run at `path`, for reading.

        Raises:
            ConfigError: There is no run.
        """
        if not (path / "rows").is_dir() and not (path / "metrics.jsonl").is_file():
            near = path.parent if path.parent.is_dir() else Path()
            runs = sorted(entry.parent.name for entry in near.glob("*/metrics.jsonl"))
            found = f"runs in {near}: {', '.join(runs)}" if runs else f"{near} holds no run"
            raise ConfigError(f"no run at {path}: it has neither metrics.jsonl nor rows/; {found}")
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps its checkpoints."""
        return self.path / "checkpoints"

    @property
    def rows(self) -> Path:
        """Where the row record's parts lie."""
        return self.path / "rows"

    @contextmanager
    def lock(self) -> Iterator[str]:
        """Hold the run for this process; gives a token that other ranks look for.

        Raises:
            TrainingError: If another process trains here.
        """
        with hold(self.path / "lock", f"run folder {self.path}") as self._held:
            try:
                yield self._held.token
            finally:
                self._held = None

    def check_lock(self) -> None:
        """Make sure that the run is still this process's, where it holds the lock; before a write.

        Raises:
            TrainingError: If the lock file or the run folder was removed or replaced.
        """
        if self._held is not None:
            self._held.check()

    def check_token(self, token: str, *, timeout_s: float = 30.0) -> None:
        """Make sure that this process sees the folder that the lock's holder sees.

        Raises:
            TrainingError: It sees another folder; names this host.
        """
        if not is_held_by(self.path / "lock", token, timeout_s=timeout_s):
            raise TrainingError(
                f"host {socket.gethostname()} does not see the run folder of the first rank at "
                f"{self.path.absolute()}: the folder must be on a file system that all nodes "
                f"share; choose one with run=PATH"
            )

    # -- logs ---------------------------------------------------------------------------------

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to a log, by one write: a reader sees all of it or its beginning.

        Args:
            name: One of LOGS.
            record: JSON values and numpy numbers, with a "step"; NaN is written as null.

        Raises:
            TrainingError: If the line does not fit on the disk; the log is left as it was. Or as
                `check_lock`.
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

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """The records of a log in the order written, without a half-written last line.

        Raises:
            TrainingError: A whole line is not a record of this log (file:line).
        """
        path = self._log(name)
        if not path.exists():
            return
        parser = LineParser(path)
        with open_log(path) as log:
            yield from map(parser.parse, whole_lines(log))

    def _log(self, name: str) -> Path:
        assert name in LOGS, name
        return self.path / f"{name}.jsonl"

    def _descriptor(self, name: str) -> int:
        """Open for appending, a half-written last line of a crash cut off first."""
        if name not in self._descriptors:
            _cut_half_line(self._log(name))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptors[name] = os.open(self._log(name), flags, 0o644)
        return self._descriptors[name]

    # -- row record ---------------------------------------------------------------------------

    def write_rows(self, rows: Sequence[RowRecord]) -> None:
        """Add a part to the row record, whole or not at all, and on disk when this returns.

        Args:
            rows: Of whole steps, ascending, all after the steps written before; none: no part.
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
        """The parts of the row record in order, each a table with these of ROW_SCHEMA's columns."""
        for _, _, path in self.row_parts():
            yield read_part(path, columns)

    def row_parts(self) -> list[tuple[int, int, Path]]:
        """(first step, last step, path) of each part.

        Where a crash came between writing a shortened part and removing the long one, the
        short one counts.
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

    # -- going back, and getting it onto the disk ----------------------------------------------

    def truncate(self, step: int, *, evaluated_step: int | None = None) -> None:
        """Forget everything after `step` (-1: all), and every half-written last line.

        Call it holding the lock, when a checkpoint of `step` is resumed.

        Args:
            step: The last that counts.
            evaluated_step: The last whose evaluation counts, where that is an earlier one: a later
                one is made again.
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
        """Bring all appended lines to the disk; call it before a checkpoint is published."""
        for name, descriptor in self._descriptors.items():
            with naming(self._log(name), self.path):
                os.fsync(descriptor)
        fsync_directory(self.path)

    def close(self) -> None:
        """Close the logs; a later `append` opens them again."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def enclosing_run(path: Path) -> Path | None:
    """The run folder that `path` lies inside, links followed; None where there is none."""
    return next(filter(_is_run, path.resolve().parents), None)


def check_place(path: Path) -> None:
    """Make sure that a run may begin at `path`, or that one is there; writes nothing.

    A beginning run removes and overwrites what bears the names of its files.

    Raises:
        ConfigError: Something that is neither a run nor an empty folder is there (logs of
            launchers do no harm), or it would be new and lie inside the folder of another run.
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
            f"run folder {path}: lies inside that of another run, {outer}; {elsewhere}"
        )
    others = [entry for entry in found if not _may_come_first(entry)]
    if others:
        names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in others]
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        raise ConfigError(
            f"run folder {path}: holds no run, and is not empty: found {shown}{more}, which a run "
            f"could overwrite; {elsewhere}: an empty folder, one that is not there, or a run's"
        )


def _is_run(path: Path) -> bool:
    """Whether a run began here; a copy of one has no lock."""
    begun = all((path / name).exists() for name in _MADE_FIRST)
    return begun or (path / "decisions.jsonl").is_file()


def _may_come_first(entry: Path) -> bool:
    """Whether a folder that is to become a run's may hold it: of a killed start, or a log."""
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
    """The same value, its texts as UTF-8 can hold them."""
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    return value


def _kept_spans(path: Path, step: int) -> list[tuple[int, int]]:
    """Stretches of bytes of a log whose lines are of steps up to `step`.

    A power cut may leave damaged lines at the end of a log, after all that a checkpoint put on the
    disk: they are forgotten with the lines of later steps.

    Raises:
        TrainingError: A damaged line comes before one that is kept.
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
    """Bytes [start, end) of a log, a part at a time."""
    log.seek(start)
    while start < end:
        part = log.read(min(_PART_BYTES, end - start))
        yield part
        start += len(part)


def _cut_half_line(path: Path) -> None:
    """Cut what follows the last line end: a write that a crash interrupted."""
    if not path.exists():
        return
    open_log(path).close()  # a pipe in its place would be waited for
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
