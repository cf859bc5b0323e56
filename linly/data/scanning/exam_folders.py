"""Questions to look for, from a folder of exams: `exams/mmlu`, `exams/cmmlu`, ..., all splits."""

from __future__ import annotations

from pathlib import Path

from linly.data.scanning.exam_index import ExamQuestion
from linly.errors import ConfigError
from linly.exams.exam_files import find_exam_files
from linly.exams.exam_reader import read_exam
from linly.exams.question import EXAM_NAMES, ExamName, Question


def exam_questions(folder: Path) -> list[ExamQuestion]:
    """Read the questions of every exam in a folder.

    Args:
        folder: Folder of one exam, or with a folder for each; folders are named like the exams.

    Raises:
        ConfigError: If there is no exam in it.
        DataError: If a file of an exam is malformed; names file and line.
    """
    names = [name for name in EXAM_NAMES if (folder / name).is_dir()]
    folders: dict[ExamName, Path] = {name: folder / name for name in names}
    for name in EXAM_NAMES:
        if folder.resolve().name == name and folder.is_dir():
            folders = {name: folder}
    if not folders:
        raise ConfigError(
            f"{folder}: found no exam, expected a folder named {', '.join(EXAM_NAMES)}, or one "
            f"that holds such folders"
        )
    return [found for name, path in folders.items() for found in _questions(path, name)]


def _questions(folder: Path, exam: ExamName) -> list[ExamQuestion]:
    splits = sorted({split for split, _ in find_exam_files(folder, exam)})
    return [
        ExamQuestion(exam, question_id(subject, split, index), _text(one), one.choices)
        for split in splits
        for subject, found in read_exam(folder, exam, split=split, shots=0).questions.items()
        for index, one in enumerate(found)
    ]


def question_id(subject: str, split: str, index: int) -> str:
    """Name of a question in a record list: `anatomy/test/17`."""
    return f"{subject}/{split}/{index}"


def _text(question: Question) -> str:
    return f"{question.passage}\n{question.stem}" if question.passage else question.stem
