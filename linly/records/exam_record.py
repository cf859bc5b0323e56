"""The record of a model's exam: what was asked in which form, and the scores by subject.

A run's records are JSON files in its folder `exams/`; `linly evaluate` writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectScore:
    """Score of one subject.

    Attributes:
        questions: Number of questions.
        right: Number of questions with a right answer; 0 if the answers are secret.
        accuracy: Their fraction; None if the answers are secret.
        standard_error: Standard error of the accuracy; None if it is unknown.
        answered: Number of questions by the letter that the model answered.
    """

    questions: int
    right: int
    accuracy: float | None
    standard_error: float | None
    answered: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamRecord:
    """Scores of a model in one exam.

    Attributes:
        exam: Name of the exam: mmlu, cmmlu, ceval or agieval.
        split: Split of the questions.
        model: Model as it was named: folder, hub id or run.
        steps: Steps of the run's checkpoints, several for a mean; empty for a model folder.
        shots: Number of solved examples in a prompt.
        num_shortened: Number of questions asked with fewer examples, since they did not fit.
        limit: Number of questions of a subject that were asked; None for all.
        form: Form of the prompts: harness or authors.
        delimiter: Text between the prompt and the answer.
        has_bos: Whether a prompt begins with the model's BOS.
        dtype: Type of the weights.
        harness: Version of lm-evaluation-harness.
        version: Version of the exam's task in it.
        questions_hash: SHA-256 of the questions and examples, to tell two exams apart.
        time: Seconds since 1970 at its end.
        seconds: Duration of the measurement.
        world_size: Number of processes that measured.
        micro: Accuracy over all questions; None if the answers are secret.
        micro_error: Its standard error, pooled within subjects.
        macro: Mean of the subjects' accuracies.
        macro_error: Its standard error.
        chance: Expected accuracy of guessing.
        constant: Accuracy of answering the most frequent right letter always.
        answered: Number of questions by the letter that the model answered.
        expected: Number of questions by their right letter.
        subjects: Scores by subject.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    exam: str
    split: str
    model: str
    steps: list[int]
    shots: int
    num_shortened: int = 0
    limit: int | None = None
    form: str
    delimiter: str
    has_bos: bool
    dtype: str
    harness: str
    version: str
    questions_hash: str
    time: float
    seconds: float
    world_size: int = 1
    micro: float | None
    micro_error: float | None
    macro: float | None
    macro_error: float | None
    chance: float | None
    constant: float | None
    answered: dict[str, int]
    expected: dict[str, int]
    subjects: dict[str, SubjectScore] = field(default_factory=dict)

    @property
    def num_questions(self) -> int:
        """Number of questions of all subjects."""
        return sum(subject.questions for subject in self.subjects.values())

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        form: dict[str, Any] = EXAM_FORM.dump_python(self)
        return form


EXAM_FORM = TypeAdapter(ExamRecord)
"""File form of an exam's record."""


def parse_exam(data: bytes) -> ExamRecord:
    """An exam's record from its JSON; raises pydantic's ValidationError if it is not one."""
    return EXAM_FORM.validate_json(data)
