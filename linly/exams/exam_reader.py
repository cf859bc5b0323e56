"""Reads an exam: a folder of files -> checked questions, with the examples of each subject."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from linly.errors import DataError
from linly.exams.exam_files import Files, find_exam_files
from linly.exams.exam_tables import ExamRow, read_exam_rows
from linly.exams.question import LETTERS, Exam, ExamName, Question, Split

DEFAULT_SPLIT: Mapping[ExamName, Split] = {
    "mmlu": "test",
    "cmmlu": "test",
    "ceval": "val",
    "agieval": "test",
}
"""Split whose score is reported: C-Eval's test answers are secret."""

_NUM_CHOICES = 4
_MOST_CHOICES = len(LETTERS)


def read_exam(folder: Path, exam: ExamName, *, split: Split | None = None, shots: int = 5) -> Exam:
    """Read the questions of an exam and the examples for its prompts.

    Args:
        folder: Folder with the exam's files, in any layout of `exam_files`.
        exam: Name of the exam.
        split: Split of the questions; None for the one whose score is reported.
        shots: Number of solved examples that each subject must have; 0 reads none. AGIEval has no
            examples, so it is read without.

    Raises:
        DataError: If a file is missing, malformed, has an answer that is not one of the choices, or
            has too few examples. The error names the file and the line.
    """
    split = split or DEFAULT_SPLIT[exam]
    files = find_exam_files(folder, exam)
    subjects = sorted(subject for held, subject in files if held == split)
    if not subjects:
        held = ", ".join(sorted({held for held, _ in files}))
        raise DataError(f"{folder}: no {split} file of {exam} in it, only {held}")
    secret = exam == "ceval" and split == "test"
    questions = {
        subject: _questions(files[split, subject], exam, subject, secret=secret)
        for subject in subjects
    }
    examples = {}
    if shots and exam != "agieval":
        examples = {subject: _examples(folder, files, exam, subject, shots) for subject in subjects}
    return Exam(exam, split, questions, examples)


def _examples(
    folder: Path, files: Files, exam: ExamName, subject: str, shots: int
) -> tuple[Question, ...]:
    paths = files.get(("dev", subject))
    if paths is None:
        raise DataError(
            f"{folder}: no dev file for {subject}, so its {shots} examples are missing; add it "
            f"(dev/{subject}_dev.csv, dev/{subject}.csv), or ask without examples"
        )
    examples = tuple(islice(_questions(paths, exam, subject, secret=False), shots))
    if len(examples) < shots:
        raise DataError(
            f"{paths[0]}: {len(examples)} examples of {subject}, and {shots} are asked for"
        )
    return examples


def _questions(
    paths: tuple[Path, ...], exam: ExamName, subject: str, *, secret: bool
) -> tuple[Question, ...]:
    found = tuple(
        _question(row, exam, subject, secret=secret)
        for path in paths
        for row in read_exam_rows(path)
    )
    if not found:
        raise DataError(f"{paths[0]}: contains no question")
    return found


def _question(row: ExamRow, exam: ExamName, subject: str, *, secret: bool) -> Question:
    values = {name.lower(): value for name, value in row.values.items()}
    stem = _text(row, values, "question")
    if not stem.strip():
        raise DataError(f"{row.place}: the question is empty")
    choices = _choices(row, values)
    if exam != "agieval" and len(choices) != _NUM_CHOICES:
        raise DataError(f"{row.place}: found {len(choices)} choices, expected {_NUM_CHOICES}")
    passage = values.get("passage") if exam == "agieval" else None
    if passage is not None and not isinstance(passage, str):
        raise DataError(f"{row.place}: the passage is not text: {passage!r}")
    answers = () if secret else _answers(row, values, len(choices))
    return Question(subject, stem, choices, answers, row.place, passage or "")


def _text(row: ExamRow, values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        raise DataError(
            f"{row.place}: no column {name!r}; its columns: {', '.join(map(str, row.values))}"
        )
    value = values[name]
    if not isinstance(value, str):
        raise DataError(f"{row.place}: {name} is not text: {value!r}")
    return value


def _choices(row: ExamRow, values: Mapping[str, Any]) -> tuple[str, ...]:
    listed = values.get("choices", values.get("options"))
    if listed is None:
        return tuple(_text(row, values, letter.lower()) for letter in LETTERS[:_NUM_CHOICES])
    if not isinstance(listed, list) or not all(isinstance(choice, str) for choice in listed):
        raise DataError(f"{row.place}: the choices are not a list of texts: {listed!r}")
    if not 2 <= len(listed) <= _MOST_CHOICES:
        raise DataError(f"{row.place}: found {len(listed)} choices, expected 2 to {_MOST_CHOICES}")
    return tuple(listed)


def _answers(row: ExamRow, values: Mapping[str, Any], num_choices: int) -> tuple[int, ...]:
    """Indices of the right choices; a letter, an index from 0, or (AGIEval) a list of letters."""
    found = values.get("label")
    if found is None:
        found = values.get("answer")
    listed = found if isinstance(found, list) else [found]
    answers = []
    for answer in listed:
        letter = answer.strip() if isinstance(answer, str) else None
        if letter and letter in LETTERS[:num_choices]:
            answers.append(LETTERS.index(letter))
        elif isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < num_choices:
            answers.append(answer)
        else:
            raise DataError(
                f"{row.place}: found the answer {answer!r}, allowed: "
                f"{', '.join(LETTERS[:num_choices])}, or (as a number) 0 to {num_choices - 1}"
            )
    if not answers:
        raise DataError(f"{row.place}: the list of answers is empty")
    return tuple(sorted(set(answers)))
