"""Lines of a run's logs, read in bounded memory and validated before use.

Every reader of a run (resume, amend, fork, monitor, report, trace, compare, export) uses this
module, so a damaged line always gives the same error, with file and line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from linly.errors import LinlyError, TrainingError
from linly.files import open_regular
from linly.records.evaluation_record import EVALUATION_FORM, EvaluationRecord
from linly.records.step_record import STEP_FORM, StepRecord

MAX_LINE_BYTES = 16 << 20
"""Maximum size of a line; the largest, decisions with a curriculum and corpora, are far smaller."""

_SHOWN_BYTES = 80
_PART_BYTES = 1 << 20


class _Form(BaseModel):
    """Types of the keys that readers use; other keys are not checked."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    step: int = Field(ge=0, lt=1 << 62)
    time: float | None = None


class _Event(_Form):
    kind: str = ""
    text: str = ""
    machine: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    languages: dict[str, str] | None = None


class _Sample(_Form):
    prompt: str = ""
    text: str = ""


class _Bad(_Form):
    source: str = ""
    reason: str = ""
    shard: str = ""
    record: int | None = None


class _Change(BaseModel):
    model_config = _Form.model_config

    key: str
    before: Any = None
    now: Any = None


class _Decision(_Form):
    kind: str = ""
    row: int = 0
    evaluated_step: int | None = None
    group: str = ""
    source: str = ""
    before: int = 0
    after: int = 0
    bits_per_byte: float | None = None
    task: str = ""
    figure: str = ""
    value: float | None = None
    baseline: float | None = None
    changes: list[_Change] = []
    set_aside: list[str] = []
    skip_steps: list[list[int]] = []
    curriculum: dict[str, Any] = {}
    corpora: dict[str, dict[str, Any]] = {}
    relisted: dict[str, dict[str, Any]] = {}


_FORMS: dict[str, TypeAdapter[Any]] = {
    "metrics": STEP_FORM,
    "evaluations": EVALUATION_FORM,
    "events": TypeAdapter(_Event),
    "samples": TypeAdapter(_Sample),
    "quarantine": TypeAdapter(_Bad),
    "decisions": TypeAdapter(_Decision),
}
_OTHER: TypeAdapter[Any] = TypeAdapter(_Form)
_ASCENDING = frozenset({"metrics", "evaluations"})
"""Logs with one line per step, in the order of the steps; an evaluation may be repeated."""


class LineParser:
    """Parser of the lines of one log, in order."""

    def __init__(self, path: Path) -> None:
        """Start before the first line of a log named NAME.jsonl."""
        self._path = path
        self._form = _FORMS.get(path.stem, _OTHER)
        self._is_ascending = path.stem in _ASCENDING
        self._last: StepRecord | EvaluationRecord | None = None
        self.num_lines = 0

    def parse(self, line: bytes) -> dict[str, Any]:
        """The next complete line as a JSON object.

        Raises:
            TrainingError: If it is not a valid record of this log, or out of order (file:line).
        """
        return self._checked(line)[0]

    def parse_record(self, line: bytes) -> Any:
        """The next complete line as a StepRecord or EvaluationRecord; raises as `parse` does."""
        return self._checked(line)[1]

    def _checked(self, line: bytes) -> tuple[dict[str, Any], Any]:
        """The line as a JSON object and as a record."""
        self.num_lines += 1
        if not line.endswith(b"\n"):
            raise self._error(f"longer than {MAX_LINE_BYTES:,} bytes")
        try:
            form = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise self._error(f"not JSON ({error})") from error
        if not isinstance(form, dict) or type(form.get("step")) is not int:
            raise self._error(f"not a record with a step: {line[:_SHOWN_BYTES]!r}")
        try:
            record = self._form.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise self._error(f"{place}: {first['msg']}, found {first['input']!r:.80}") from error
        if self._is_ascending:
            last, self._last = self._last, record
            if last and record.step <= last.step and not _is_repeat(last, record):
                raise self._error(f"step {record.step} comes after step {last.step}")
        return form, record

    def _error(self, text: str) -> TrainingError:
        return TrainingError(
            f"{self._path}:{self.num_lines}: {text}: the file was damaged after it was written. "
            f"Remove the line to read the rest"
        )


def _is_repeat(last: StepRecord | EvaluationRecord, record: StepRecord | EvaluationRecord) -> bool:
    """Whether an evaluation was written twice, as earlier versions did when a source ran out."""
    if not isinstance(last, EvaluationRecord) or not isinstance(record, EvaluationRecord):
        return False
    return replace(record, time=last.time) == last


def open_log(path: Path) -> BinaryIO:
    """Open a log for reading.

    Raises:
        TrainingError: If it is not a regular file or cannot be opened.
        FileNotFoundError: If it is missing.
    """
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise
    except (OSError, LinlyError) as error:
        raise TrainingError(f"{path}: the log cannot be read: {error}") from error


def whole_lines(log: BinaryIO) -> Iterator[bytes]:
    """Complete lines with their line ends, each in bounded memory.

    A half-written last line is skipped. A line longer than `MAX_LINE_BYTES` is cut there, and
    `LineParser` refuses it.

    Args:
        log: Open file, at the beginning of a line.
    """
    while line := log.readline(MAX_LINE_BYTES):
        if line.endswith(b"\n") or (len(line) == MAX_LINE_BYTES and _skip_line(log)):
            yield line


def _skip_line(log: BinaryIO) -> bool:
    """Read up to the end of the line; False if the file ends first."""
    while part := log.readline(_PART_BYTES):
        if part.endswith(b"\n"):
            return True
    return False
