"""Compares two models on the same questions: McNemar's exact test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from linly.exams.exam_scores import Answer, is_right
from linly.exams.question import Exam


@dataclass(frozen=True, slots=True)
class Paired:
    """Answers of two models to the same questions.

    Attributes:
        both: Number of questions that both answer right.
        only_before: Number that only the first model answers right.
        only_after: Number that only the second one answers right.
        neither: Number that neither answers right.
        p_value: Two-sided probability of a difference at least as large if both were equally
            good: under that assumption each question of `only_before` and `only_after` is a toss
            of a coin (McNemar 1947, exact form).
    """

    both: int
    only_before: int
    only_after: int
    neither: int
    p_value: float

    @property
    def change(self) -> float:
        """Accuracy of the second model minus that of the first."""
        number = self.both + self.only_before + self.only_after + self.neither
        return (self.only_after - self.only_before) / number


def compare_answers(
    exam: Exam, before: Mapping[str, Sequence[Answer]], after: Mapping[str, Sequence[Answer]]
) -> Paired:
    """Compare two models' answers to the same questions.

    Args:
        exam: The exam; its answers are known.
        before: Answers of the first model by subject.
        after: Answers of the second one to the same questions in the same order.
    """
    from scipy.stats import binomtest

    counts = [[0, 0], [0, 0]]
    for subject, questions in exam.questions.items():
        for first, second in zip(before[subject], after[subject], strict=True):
            question = questions[first.index]
            assert first.index == second.index
            counts[is_right(question, first)][is_right(question, second)] += 1
    (neither, only_after), (only_before, both) = counts
    differing = only_before + only_after
    p_value = float(binomtest(only_before, differing).pvalue) if differing else 1.0
    return Paired(both, only_before, only_after, neither, p_value)
