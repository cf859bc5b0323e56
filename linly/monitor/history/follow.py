"""Follow a run while it is written: each look reads only the lines added since the last one.

A log may end in half a line that is still being written, which is left for the next look. A log may
also be truncated to a checkpoint because the run was resumed, after which the run is reloaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from linly.errors import TrainingError
from linly.monitor.history.history import History, Logs, longer_history, make_history
from linly.runs.exam_results import exam_files
from linly.runs.log_lines import LineParser, open_log, whole_lines
from linly.runs.runs import RECORD_LOGS, RunFolder


class LogTail:
    """Position up to which a log has been read."""

    def __init__(self, path: Path, *, as_records: bool = False) -> None:
        """Start before the first line; the file need not exist yet.

        Args:
            path: Path of the log.
            as_records: Whether to return objects of the log's record class, not JSON objects.
        """
        self._path = path
        parser = LineParser(path)
        self._parse = parser.parse_record if as_records else parser.parse
        self._offset = 0
        self._last_line = b""

    def added(self) -> list[Any] | None:
        """Whole lines written since the last call; None if lines already read were removed.

        Raises:
            TrainingError: If a whole line is not a record of this log (file:line).
        """
        try:
            with open_log(self._path) as log:
                if os.fstat(log.fileno()).st_size < self._offset:
                    return None
                log.seek(self._offset - len(self._last_line))
                if log.read(len(self._last_line)) != self._last_line:
                    return None
                records = []
                for line in whole_lines(log):
                    records.append(self._parse(line))
                    self._offset += len(line)
                    self._last_line = line
        except FileNotFoundError:
            return [] if self._offset == 0 else None
        return records


@dataclass(frozen=True, slots=True)
class Look:
    """Current state of a followed run.

    Attributes:
        version: Number that changes with the history.
        history: History of the run; None before the first step.
        problem: Reason why the logs cannot be read further, such as a damaged line; empty if none.
    """

    version: int
    history: History | None
    problem: str


class RunFollower:
    """Keeps a run's history up to date."""

    def __init__(self, path: Path) -> None:
        """Follow the run at `path`.

        Raises:
            ConfigError: If there is no run.
        """
        self.path = RunFolder.open(path).path
        self._version = 0
        self._history: History | None = None
        self._problem = ""
        self._exams = exam_files(self.path)
        self._begin()

    def look(self) -> Look:
        """Read the lines added since the last look."""
        try:
            logs = self._added()
            if logs is None or not self._take(logs):
                self._reread()
            problem = ""
        except TrainingError as error:
            self._begin()
            problem = str(error)
        exams = exam_files(self.path)
        if problem != self._problem or exams != self._exams:
            self._problem, self._exams = problem, exams
            self._version += 1
        return Look(self._version, self._history, self._problem)

    def _begin(self) -> None:
        """Reset the positions in the logs; the last complete history is still shown."""
        self._tails = {
            field.name: LogTail(
                self.path / f"{field.name}.jsonl", as_records=field.name in RECORD_LOGS
            )
            for field in fields(Logs)
        }
        self._is_fresh = True

    def _added(self) -> Logs | None:
        added: Mapping[str, list[Any] | None] = {
            name: tail.added() for name, tail in self._tails.items()
        }
        found = {name: lines for name, lines in added.items() if lines is not None}
        return Logs(**found) if len(found) == len(added) else None

    def _reread(self) -> None:
        self._begin()
        logs = self._added()
        if logs is not None:  # else it is being truncated: the next look reads it
            self._take(logs)

    def _take(self, logs: Logs) -> bool:
        """Add lines to the history; return False if they do not fit it."""
        if not any(getattr(logs, field.name) for field in fields(logs)) and not self._is_fresh:
            return True
        if self._is_fresh:
            if not logs.metrics:
                if self._history is not None:
                    self._version += 1
                self._history = None
                self._begin()
                return True
            self._history, self._is_fresh = make_history(self.path, logs), False
        else:
            assert self._history is not None
            longer = longer_history(self._history, logs)
            if longer is None:
                return False
            self._history = longer
        self._version += 1
        return True
