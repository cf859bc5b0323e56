"""Questions of a multiple-choice exam, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

ExamName = Literal["mmlu", "cmmlu", "ceval", "agieval"]
Split = Literal["dev", "val", "test"]

EXAM_NAMES: tuple[ExamName, ...] = get_args(ExamName)
LETTERS = "ABCDEFG"


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        subject: Name of its subject, as in the file's name: `high_school_physics`.
        stem: Text of the question, as in the file.
        choices: Texts of the choices, as in the file; AGIEval's begin with their letter.
        answers: Indices of the right choices; empty if the file keeps them secret (C-Eval's test).
        place: File and line (in parquet: row) that the question was read from.
        passage: Text that the question refers to (AGIEval); empty if there is none.
    """

    subject: str
    stem: str
    choices: tuple[str, ...]
    answers: tuple[int, ...]
    place: str
    passage: str = ""

    @property
    def answer(self) -> int | None:
        """Index of the right choice, the first if there are several; None if it is secret."""
        return self.answers[0] if self.answers else None

    @property
    def letters(self) -> str:
        """Letters of the right choices: `C`, or `AD`; empty if they are secret."""
        return "".join(LETTERS[answer] for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Exam:
    """Questions of one split of an exam, and the examples of each subject.

    Attributes:
        name: Name of the exam.
        split: Split of the questions.
        questions: Questions by subject, subjects in alphabetical order, questions as in the file.
        examples: Solved questions of each subject (split `dev`), as in the file; empty for an exam
            without examples (AGIEval) and where they were not asked for.
    """

    name: ExamName
    split: Split
    questions: Mapping[str, tuple[Question, ...]]
    examples: Mapping[str, tuple[Question, ...]]

    @property
    def num_questions(self) -> int:
        """Number of questions of all subjects."""
        return sum(map(len, self.questions.values()))
