"""The drop of a task: of the watched figure, in the direction that is worse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from linly.records.task_record import TaskEvaluation, parse_tasks, task_drop, tasks_form


def result(**figures: Any) -> TaskEvaluation:
    return TaskEvaluation(questions=10, **figures)


@pytest.mark.parametrize(
    ("figure", "before", "now", "drop"),
    [
        ("accuracy", 0.5, 0.4, 0.2),
        ("accuracy", 0.5, 0.6, -0.2),
        ("copy_gain", 4.0, -1.0, 1.25),
        ("bits_per_byte", 2.0, 2.2, 0.1),
        ("bits_per_answer", 2.0, 1.0, -0.5),
    ],
)
def test_a_drop_is_relative_to_step_0(figure: Any, before: float, now: float, drop: float) -> None:
    one, two = (result(**{figure: value}, watched=figure) for value in (before, now))
    assert task_drop(one, two) == pytest.approx(drop)


def test_without_a_number_or_with_other_prompts_nothing_is_compared() -> None:
    one = result(accuracy=0.5, prompts="a")
    for other in (
        result(accuracy=None, prompts="a"),
        result(accuracy=0.5, prompts="b"),
        result(accuracy=0.5, copy_gain=0.5, prompts="a", watched="copy_gain"),
        None,
    ):
        assert task_drop(one, other) is None
        assert task_drop(other, one) is None
    for nothing in (0.0, -0.1):
        one = result(copy_gain=nothing, watched="copy_gain")
        assert task_drop(one, replace(one, copy_gain=-1.0)) is None


def test_results_come_back_from_a_checkpoint() -> None:
    tasks = {"icl": result(accuracy=0.5, copy_gain=0.25, letters={"A": 1})}
    assert parse_tasks(tasks_form(tasks)) == tasks
