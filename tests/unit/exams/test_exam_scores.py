"""Scores: accuracy by subject and together, errors as lm-eval's, letters, secret answers."""

from __future__ import annotations

import math

import pytest

from linly.exams.exam_scores import Answer, questions_hash, score_exam
from linly.exams.paired_test import compare_answers
from linly.exams.question import Exam, Question


def asked(*answers: tuple[int, ...]) -> tuple[Question, ...]:
    choices = ("w", "x", "y", "z")
    return tuple(Question("s", f"q {n}", choices, a, "f:1") for n, a in enumerate(answers))


def given(*chosen: int) -> list[Answer]:
    return [Answer(index, (0.0,) * 4, letter, 0, 9) for index, letter in enumerate(chosen)]


EXAM = Exam("mmlu", "test", {"a": asked((0,), (1,), (2,), (0,)), "b": asked((3,), (0, 3))}, {})


def test_micro_weights_by_size_and_macro_by_subject() -> None:
    subjects, totals = score_exam(EXAM, {"a": given(0, 0, 0, 0), "b": given(3, 3)})
    assert (subjects["a"].accuracy, subjects["b"].accuracy) == (0.5, 1.0)
    assert totals.micro == pytest.approx(4 / 6)
    assert totals.macro == 0.75
    assert subjects["a"].standard_error == pytest.approx(math.sqrt(0.25 / 3))
    assert totals.macro_error == pytest.approx(math.sqrt(0.25 / 3) / 2)


def test_chance_and_the_constant_letter_count_all_right_letters() -> None:
    _, totals = score_exam(EXAM, {"a": given(0, 0, 0, 0), "b": given(3, 3)})
    assert totals.expected == {"A": 3, "B": 1, "C": 1, "D": 2}
    assert totals.answered == {"A": 4, "D": 2}
    assert totals.constant == 3 / 6
    assert totals.chance == pytest.approx((5 * 0.25 + 0.5) / 6)


def test_the_error_of_all_questions_is_lm_evals_pooled_one() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    subjects, totals = score_exam(EXAM, {"a": given(0, 1, 0, 0), "b": given(3, 1)})
    errors = [subject.standard_error for subject in subjects.values()]
    sizes = [subject.questions for subject in subjects.values()]
    assert totals.micro_error == pytest.approx(metrics.pooled_sample_stderr(errors, sizes))


def test_secret_answers_have_no_score_but_letters() -> None:
    exam = Exam("ceval", "test", {"a": asked((), ())}, {})
    subjects, totals = score_exam(exam, {"a": given(1, 2)})
    assert totals.micro is None and totals.chance is None
    assert subjects["a"].accuracy is None
    assert totals.answered == {"B": 1, "C": 1}


def test_mcnemar_counts_only_questions_on_which_the_models_differ() -> None:
    pytest.importorskip("scipy")
    before = {"a": given(0, 1, 3, 3), "b": given(0, 0)}
    after = {"a": given(0, 0, 2, 0), "b": given(3, 3)}
    paired = compare_answers(EXAM, before, after)
    assert (paired.both, paired.only_before, paired.only_after, paired.neither) == (2, 1, 3, 0)
    assert paired.change == pytest.approx(2 / 6)
    assert paired.p_value == pytest.approx(2 * (1 + 4) / 2**4)
    assert compare_answers(EXAM, after, after).p_value == 1.0


def test_the_hash_tells_questions_and_limits_apart() -> None:
    other = Exam("mmlu", "test", {**EXAM.questions, "b": asked((3,), (0,))}, {})
    hashes = {questions_hash(EXAM, None), questions_hash(EXAM, 1), questions_hash(other, None)}
    assert len(hashes) == 3
    assert questions_hash(EXAM, 1) == questions_hash(other, 1)
