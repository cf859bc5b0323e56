"""Scores of an exam from the answers to its questions: accuracy, its error, letters answered."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from linly.exams.question import LETTERS, Exam, Question
from linly.records.exam_record import SubjectScore


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to a question.

    Attributes:
        index: Position of the question in its subject, from 0.
        log_likelihoods: Log-likelihood of each choice, in nats.
        chosen: Index of the choice with the largest one, the first of equals.
        shots: Number of solved examples in the prompt.
        num_tokens: Tokens of the prompt and the longest choice.
    """

    index: int
    log_likelihoods: tuple[float, ...]
    chosen: int
    shots: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Scores over all subjects; see `ExamRecord`, whose fields have these names."""

    micro: float | None
    micro_error: float | None
    macro: float | None
    macro_error: float | None
    chance: float | None
    constant: float | None
    answered: dict[str, int]
    expected: dict[str, int]


def is_right(question: Question, answer: Answer) -> bool:
    """Whether an answer is one of the right choices."""
    return answer.chosen in question.answers


def score_subject(questions: Sequence[Question], answers: Sequence[Answer]) -> SubjectScore:
    """Score the answers to a subject's questions.

    The standard error is that of a mean of 0s and 1s with the unbiased variance, as in lm-eval.

    Args:
        questions: Questions of the subject.
        answers: Answers to some of them, at least one.
    """
    asked = [questions[answer.index] for answer in answers]
    letters = Counter(LETTERS[answer.chosen] for answer in answers)
    right = sum(map(is_right, asked, answers))
    number = len(answers)
    accuracy = right / number if all(question.answers for question in asked) else None
    error = None
    if accuracy is not None and number > 1:
        error = math.sqrt(accuracy * (1 - accuracy) / (number - 1))
    return SubjectScore(
        questions=number,
        right=right,
        accuracy=accuracy,
        standard_error=error,
        answered=dict(sorted(letters.items())),
    )


def score_exam(
    exam: Exam, answers: Mapping[str, Sequence[Answer]]
) -> tuple[dict[str, SubjectScore], Totals]:
    """Score all subjects, and together.

    Args:
        exam: The exam.
        answers: Answers by subject.
    """
    subjects = {
        name: score_subject(exam.questions[name], given) for name, given in sorted(answers.items())
    }
    asked = [exam.questions[name][answer.index] for name in subjects for answer in answers[name]]
    answered = sum((Counter(subject.answered) for subject in subjects.values()), Counter())
    expected = Counter(letter for question in asked for letter in question.letters)
    if any(subject.accuracy is None for subject in subjects.values()):
        return subjects, Totals(*(None,) * 6, _sorted(answered), _sorted(expected))
    accuracies = [subject.accuracy or 0.0 for subject in subjects.values()]
    sizes = [subject.questions for subject in subjects.values()]
    return subjects, Totals(
        micro=sum(subject.right for subject in subjects.values()) / len(asked),
        micro_error=_pooled_error(accuracies, sizes),
        macro=math.fsum(accuracies) / len(accuracies),
        macro_error=_macro_error([subject.standard_error for subject in subjects.values()]),
        chance=math.fsum(len(q.answers) / len(q.choices) for q in asked) / len(asked),
        constant=max(expected.values()) / len(asked),
        answered=_sorted(answered),
        expected=_sorted(expected),
    )


def questions_hash(exam: Exam, limit: int | None) -> str:
    """SHA-256 of the questions that are asked, and of the examples."""
    content: list[Any] = [exam.name, exam.split]
    for listed in (exam.questions, exam.examples):
        for subject, questions in sorted(listed.items()):
            chosen = questions[:limit] if listed is exam.questions else questions
            content += [
                [subject, q.passage, q.stem, list(q.choices), list(q.answers)] for q in chosen
            ]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()


def _pooled_error(accuracies: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Standard error of a mean over all questions, with each subject's own mean (as in lm-eval)."""
    free = sum(sizes) - len(sizes)
    if free <= 0:
        return None
    squares = math.fsum(
        accuracy * (1 - accuracy) * size for accuracy, size in zip(accuracies, sizes, strict=True)
    )
    return math.sqrt(squares / free / sum(sizes))


def _macro_error(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    return math.sqrt(math.fsum(error**2 for error in known)) / len(known)


def _sorted(letters: Counter[str]) -> dict[str, int]:
    return dict(sorted(letters.items()))
