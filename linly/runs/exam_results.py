"""Exam results in a run's folder: `exams/step-00000100_mmlu_5-shot.json`, one file per exam."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
from pydantic import ValidationError

from linly.errors import TrainingError
from linly.files import publish
from linly.records.exam_record import ExamRecord, parse_exam

FOLDER = "exams"
_STEPS = re.compile(r"steps?-([0-9-]+)_")


def write_exam(run: Path, record: ExamRecord) -> Path:
    """Write an exam's record into a run's folder; one of the same kind is replaced.

    Args:
        run: The run folder.
        record: Record of the exam, of a checkpoint of this run.

    Returns:
        The file.
    """
    path = run / FOLDER / f"{exam_file_stem(record)}.json"
    path.parent.mkdir(exist_ok=True)
    publish(path, orjson.dumps(record.to_json(), option=orjson.OPT_INDENT_2))
    return path


def exam_file_stem(record: ExamRecord) -> str:
    """Name of an exam's file without its suffix, different for each kind of exam."""
    steps = "-".join(f"{step:08}" for step in record.steps)
    parts = [f"step{'s' if len(record.steps) > 1 else ''}-{steps}"] if steps else []
    parts += [record.exam, f"{record.shots}-shot"]
    parts += [] if record.form == "harness" else [record.form]
    parts += [] if record.limit is None else [f"first-{record.limit}"]
    return "_".join(parts)


def read_exams(run: Path) -> Iterator[ExamRecord]:
    """Read the exams of a run, by steps, then name.

    Raises:
        TrainingError: If a file is not an exam's record.
    """
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            yield parse_exam(path.read_bytes())
        except ValidationError as error:
            raise TrainingError(f"{path}: not a record of an exam: {error}; remove it") from error


def exam_files(run: Path) -> tuple[tuple[str, int], ...]:
    """Name and time of change, in nanoseconds, of each exam's file."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        with suppress(FileNotFoundError):  # removed meanwhile
            found.append((path.name, path.stat().st_mtime_ns))
    return tuple(found)


def truncate_exams(run: Path, step: int) -> None:
    """Remove the exams of checkpoints after a step: a resumed run trains other weights there."""
    for path in (run / FOLDER).glob("*.json"):
        match = _STEPS.match(path.name)
        if match and max(map(int, match[1].split("-"))) > step:
            path.unlink()
