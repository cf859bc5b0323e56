"""The run folder: lock, append-only logs, row record, and truncation to a step.

    runs/NAME/
      lock                process that trains here now (flock; process, host, time)
      metrics.jsonl ...   logs, one JSON object per line, each written by a single write
      rows/*.parquet      origin and loss of every row, one file per checkpoint
      exams/*.json        scores of checkpoints, written by `linly evaluate`
      checkpoints/        written by the trainer

A crash may leave an incomplete last line, and lines of steps after the checkpoint that is resumed.
Readers skip an incomplete line. `truncate` removes both, so that the files after a resume are those
of an uninterrupted run.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from linly.errors import ConfigError, TrainingError
from linly.files import fsync_directory
from linly.records.evaluation_record import EvaluationRecord
from linly.records.row_record import ROW_SCHEMA, RowRecord
from linly.records.step_record import StepRecord
from linly.runs.exam_results import truncate_exams
from linly.runs.locks import HeldLock, check_free, hold, is_held_by
from linly.runs.log_file import LogFile
from linly.runs.row_parts import RowParts
from linly.runs.run_places import cannot_create, check_may_create, check_place

LOGS = ("metrics", "evaluations", "events", "samples", "quarantine", "decisions")
"""Logs of a run; each is `NAME.jsonl`."""

RECORD_LOGS = frozenset({"metrics", "evaluations"})
"""Logs whose lines are records with a class of their own."""

KEPT_WHOLE = frozenset({"decisions"})
"""Logs that `truncate` does not shorten."""

EVALUATION_LOGS = frozenset({"evaluations", "samples"})
"""Logs written by evaluations."""

PINNED = ("shards", "held_out", "model")
"""Folders of the inputs that a run pins; their files are replaced but never modified."""


class RunFolder:
    """A run's folder, written by the one process that holds the lock and readable by others."""

    def __init__(self, path: Path) -> None:
        """Use `create_or_open` or `open`, which check the path first."""
        self.path = path
        self._logs = {name: LogFile(path / f"{name}.jsonl") for name in LOGS}
        self._row_parts = RowParts(self.rows)
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
            raise cannot_create(path, error) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run at `path`, for reading.

        Raises:
            ConfigError: If there is no run.
        """
        if not (path / "rows").is_dir() and not (path / "metrics.jsonl").is_file():
            near = [folder for folder in (path, path.parent, Path()) if folder.is_dir()]
            runs = next((runs for folder in near if (runs := _runs_in(folder))), [])
            found = f"runs: {', '.join(runs)}" if runs else f"{near[0]} has no run"
            raise ConfigError(f"no run at {path}: it has neither metrics.jsonl nor rows/; {found}")
        return cls(path)

    def check_startable(self) -> None:
        """Check that this process could create or open the folder and lock it; changes nothing.

        Raises:
            ConfigError: As `create_or_open`.
            TrainingError: If another process trains in this folder.
        """
        check_place(self.path)
        check_may_create(self.path)
        check_free(self.path / "lock", self._locked)

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
        with hold(self.path / "lock", self._locked) as self._held:
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

    @property
    def _locked(self) -> str:
        """Name of what the lock protects, for errors."""
        return f"run folder {self.path}"

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
        self._logs[name].append(record)

    def append_decision(self, line: Mapping[str, Any]) -> None:
        """Append a line to decisions.jsonl, with its time; raises as `append` does."""
        self.append("decisions", {**line, "time": time.time()})

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
        for parser, line in self._logs[name].lines():
            yield parser.parse(line)

    def read_steps(self) -> Iterator[StepRecord]:
        """The steps of metrics.jsonl; raises as `read` does."""
        for parser, line in self._logs["metrics"].lines():
            yield parser.parse_record(line)

    def read_evaluations(self) -> Iterator[EvaluationRecord]:
        """The evaluations of evaluations.jsonl; raises as `read` does."""
        for parser, line in self._logs["evaluations"].lines():
            yield parser.parse_record(line)

    # -- row record ---------------------------------------------------------------------------

    def write_rows(self, rows: Sequence[RowRecord]) -> None:
        """Add a part to the row record, atomically; it is on disk when this returns.

        Args:
            rows: Rows of complete steps, ascending, after all written steps; if empty, no part.
        """
        if rows:
            self.check_lock()
            self._row_parts.write(rows)

    def read_rows(self, columns: Sequence[str] = ROW_SCHEMA.names) -> Iterator[pa.Table]:
        """The parts of the row record in order, each a table with these columns."""
        return self._row_parts.read(columns)

    def row_parts(self) -> list[tuple[int, int, Path]]:
        """(first step, last step, path) of each part of the row record."""
        return self._row_parts.found()

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
        evaluated_step = step if evaluated_step is None else evaluated_step
        for name, log in self._logs.items():
            if name in KEPT_WHOLE:
                log.truncate(None)
            else:
                log.truncate(evaluated_step if name in EVALUATION_LOGS else step)
        self._row_parts.truncate(step)
        truncate_exams(self.path, step)
        fsync_directory(self.path)

    def fsync(self) -> None:
        """Flush all appended lines to disk; call it before a checkpoint is published."""
        for log in self._logs.values():
            log.fsync()
        fsync_directory(self.path)

    def close(self) -> None:
        """Close the logs; a later `append` reopens them."""
        for log in self._logs.values():
            log.close()


def _runs_in(folder: Path) -> list[str]:
    """Return the paths of the runs in a folder, by name."""
    return sorted(str(metrics.parent) for metrics in folder.glob("*/metrics.jsonl"))
