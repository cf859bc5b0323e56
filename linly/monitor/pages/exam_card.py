"""Part of a run's page: scores of its checkpoints in exams, as `linly evaluate` wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from linly.errors import TrainingError
from linly.monitor.pages.rendering import part
from linly.records.exam_record import ExamRecord
from linly.runs.exam_results import read_exams

_HEADS = ("exam", "step", "asked", "questions", "accuracy", "mean of subjects", "chance")
_MORE_HEADS = ("same letter", "answered")
_NOTE = (
    "Accuracy over all questions with its standard error; mean of subjects: each subject counts "
    "the same. Same letter: the best accuracy of answering one letter always. Measured by "
    "lm-evaluation-harness."
)


def exam_card(run: Path) -> Markup:
    """Table of all exams of a run, and the subjects of the newest of each; empty without any.

    Args:
        run: The run folder.
    """
    try:
        records = list(read_exams(run))
    except TrainingError as error:
        return part("alarms")([(None, str(error))], "Exams that cannot be read")
    if not records:
        return Markup()
    ordered = sorted(records, key=lambda record: (record.exam, *_form(record), record.steps))
    body = part("table")((*_HEADS, *_MORE_HEADS), [_line(record) for record in ordered], 3)
    for _, group in groupby(ordered, key=lambda record: (record.exam, *_form(record))):
        body += _subjects(list(group)[-1])
    return part("section")("Exams", _NOTE, body)


def _form(record: ExamRecord) -> tuple[int, str, str, int]:
    return record.shots, record.form, record.delimiter, record.limit or 0


def _line(record: ExamRecord) -> Sequence[str]:
    limit = "" if record.limit is None else f", first {record.limit}"
    shortened = f", {record.num_shortened:,} with fewer" if record.num_shortened else ""
    return (
        record.exam,
        _steps(record),
        f"{record.shots}-shot{shortened}, {record.form}, delimiter {record.delimiter!r}{limit}",
        f"{record.num_questions:,}",
        _accuracy(record.micro, record.micro_error),
        _accuracy(record.macro, record.macro_error),
        _accuracy(record.chance, None),
        _accuracy(record.constant, None),
        _letters(record.answered, record.num_questions),
    )


def _subjects(record: ExamRecord) -> Markup:
    lines = [
        (
            name.replace("_", " "),
            f"{subject.questions:,}",
            _accuracy(subject.accuracy, subject.standard_error),
            _letters(subject.answered, subject.questions),
        )
        for name, subject in record.subjects.items()
    ]
    title = f"Subjects of {record.exam}, {record.shots}-shot, step {_steps(record)}"
    heads = ("subject", "questions", "accuracy", "answered")
    return part("details")(title, part("table")(heads, lines, 1))


def _steps(record: ExamRecord) -> str:
    return ", ".join(f"{step:,}" for step in record.steps)


def _accuracy(value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" + ("" if error is None else f" ± {100 * error:.1f}")


def _letters(letters: Mapping[str, int], total: int) -> str:
    return " ".join(f"{letter} {number / total:.0%}" for letter, number in letters.items())
