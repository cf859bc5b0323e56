"""What an evaluation makes of a guard: up, down, as it was; from numbers alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.curriculum import Curriculum
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.evaluation.curve_guard import GuardDecision, guard_decisions
from linly.records.evaluation_record import SourceEvaluation
from linly.records.measures import joint_bits_per_byte
from linly.records.task_record import TaskEvaluation, TaskFigure

CURRICULUM = """\
tokens: 1M
mixture:
  english:
    ratio: {curve: linear, from: 70%, to: 20%, guard: {source: english, max_rise: 3%, cap: 60%}}
    sources: {web: 50%, books: 50%}
  parallel:
    ratio: {curve: linear, from: 9%, to: 5%, guard: {source: wiki, max_rise: 0%, cap: 9%, steps: 2}}
    sources: {pairs: 100%}
  chinese: {ratio: rest, sources: {wiki: 100%}}
"""


@pytest.fixture(scope="module")
def curriculum() -> Curriculum:
    tree = parse_yaml(CURRICULUM, Origin("c.yaml", 1, Path("/")))
    return validate(Curriculum, tree, name="c")


def results(web: float, books: float, wiki: float = 2.0) -> dict[str, SourceEvaluation]:
    return {
        "web": SourceEvaluation(bits_per_byte=web, size_bytes=3000),
        "books": SourceEvaluation(bits_per_byte=books, size_bytes=1000),
        "wiki": SourceEvaluation(bits_per_byte=wiki, size_bytes=500),
    }


START = results(1.0, 1.0)


def english(curriculum: Curriculum, level: int, latest: dict[str, SourceEvaluation]) -> int:
    decisions = guard_decisions(curriculum, {"english": level}, START, latest)
    assert [decision.group for decision in decisions] == ["english", "parallel"]
    assert decisions[0].before == level
    return decisions[0].after


@pytest.mark.parametrize(
    ("level", "bits", "after"),
    [
        (0, 1.0, 0),
        (0, 1.03, 0),  # no more than allowed
        (0, 1.0301, 1),
        (1, 1.5, 2),  # a step at a time, however far it rose
        (3, 1.04, 4),
        (4, 1.04, 4),  # at the cap
        (4, 1.03, 3),
        (1, 0.5, 0),
    ],
)
def test_a_group_moves_by_a_step(
    curriculum: Curriculum, level: int, bits: float, after: int
) -> None:
    assert english(curriculum, level, results(bits, bits)) == after


def test_sources_of_a_group_weigh_by_their_bytes(curriculum: Curriculum) -> None:
    """web has three bytes for each of books."""
    found = results(1.2, 1.0)
    assert joint_bits_per_byte([found["books"], found["web"]]) == pytest.approx(1.15)
    assert english(curriculum, 0, results(1.05, 1.0)) == 1  # +3.75%
    assert english(curriculum, 0, results(1.0, 1.05)) == 0  # +1.25%


def test_every_guard_decides_by_its_own_source(curriculum: Curriculum) -> None:
    decisions = guard_decisions(curriculum, {}, START, results(1.5, 1.5, wiki=1.9))
    assert [decision.after for decision in decisions] == [1, 0]
    decisions = guard_decisions(curriculum, {"parallel": 1}, START, results(0.5, 0.5, wiki=2.1))
    assert [decision.after for decision in decisions] == [0, 2]


@given(st.integers(0, 4), st.floats(0.1, 10))
def test_a_level_stays_between_curve_and_cap(level: int, bits: float) -> None:
    tree = parse_yaml(CURRICULUM, Origin("c.yaml", 1, Path("/")))
    curriculum = validate(Curriculum, tree, name="c")
    after = english(curriculum, level, results(bits, bits))
    assert 0 <= after <= 4
    assert after == (min(level + 1, 4) if bits > 1.03 else max(level - 1, 0))


@pytest.mark.parametrize("bits", [math.nan, math.inf, None])
def test_without_a_number_nothing_moves_and_it_is_said(
    curriculum: Curriculum, bits: float | None
) -> None:
    """NaN comes back from a file as null."""
    sick = results(1.0, 1.0)
    sick["web"] = replace(sick["web"], bits_per_byte=bits)
    for baseline, latest in ((START, sick), (sick, results(9.0, 9.0)), ({}, START)):
        decision = guard_decisions(curriculum, {"english": 2}, baseline, latest)[0]
        assert (decision.before, decision.after, decision.value) == (2, 2, None)
        assert decision.is_news
        assert str(decision) == (
            "english left at step 2 of 4 towards 60%: english has no bits per byte to compare"
        )


def test_sources_that_came_later_are_left_out_of_the_comparison(curriculum: Curriculum) -> None:
    old = {name: value for name, value in START.items() if name != "books"}
    decision = guard_decisions(curriculum, {}, old, results(1.01, 9.0))[0]
    assert (decision.baseline, decision.value, decision.after) == (1.0, 1.01, 0)


def test_a_decision_says_why(curriculum: Curriculum) -> None:
    decision = guard_decisions(curriculum, {"english": 1}, START, results(1.04, 1.04))[0]
    assert str(decision) == (
        "english raised to step 2 of 4 towards 60%: english at 1.0400 bits per byte, +4.00% since "
        "the start, allowed 3%"
    )
    assert decision.to_json(step=20, row=160) == {
        "step": 20,
        "kind": "guard",
        "row": 160,
        "group": "english",
        "source": "english",
        "before": 1,
        "after": 2,
        "bits_per_byte": 1.04,
        "baseline": 1.0,
    }


TASK_CURRICULUM = CURRICULUM.replace(
    "{source: english, max_rise: 3%, cap: 60%}", "{task: icl, max_drop: 10%, cap: 60%}"
)


def by_task(level: int, before: TaskEvaluation, now: TaskEvaluation | None) -> GuardDecision | None:
    """Decision of the guard of english, which watches a task."""
    tree = parse_yaml(TASK_CURRICULUM, Origin("c.yaml", 1, Path("/")))
    curriculum = validate(Curriculum, tree, name="c")
    tasks = None if now is None else {"icl": now}
    decisions = guard_decisions(
        curriculum,
        {"english": level},
        START,
        START,
        tasks_before={"icl": before},
        tasks=tasks,
    )
    return next((one for one in decisions if one.group == "english"), None)


@pytest.mark.parametrize(
    ("watched", "before", "now", "after"),
    [
        ("accuracy", 0.5, 0.46, 0),
        ("accuracy", 0.5, 0.44, 2),
        ("copy_gain", 4.0, 3.5, 2),
        ("bits_per_answer", 2.0, 2.3, 2),
        ("bits_per_answer", 2.0, 1.0, 0),
    ],
)
def test_a_guard_on_a_task_moves_by_its_watched_figure(
    watched: TaskFigure, before: float, now: float, after: int
) -> None:
    one, two = (
        replace(TaskEvaluation(watched=watched), **{watched: value}) for value in (before, now)
    )
    decision = by_task(1, one, two)
    assert decision is not None
    assert (decision.before, decision.after, decision.value) == (1, after, now)


def test_a_guard_on_a_task_waits_for_the_next_evaluation_of_the_tasks() -> None:
    assert by_task(1, TaskEvaluation(accuracy=0.5), None) is None


def test_other_questions_than_at_the_start_decide_nothing() -> None:
    decision = by_task(1, TaskEvaluation(accuracy=0.5), TaskEvaluation(accuracy=0.1, prompts="b"))
    assert decision is not None
    assert (decision.before, decision.after, decision.is_news) == (1, 1, True)
    assert str(decision).endswith("icl has no accuracy to compare")


def test_a_decision_by_a_task_says_why() -> None:
    decision = by_task(1, TaskEvaluation(accuracy=0.5), TaskEvaluation(accuracy=0.4))
    assert decision is not None
    assert str(decision) == (
        "english raised to step 2 of 4 towards 60%: icl at 0.4000 accuracy, -20.00% since the "
        "start, allowed -10%"
    )
    assert decision.to_json(step=20, row=160) == {
        "step": 20,
        "kind": "guard",
        "row": 160,
        "group": "english",
        "task": "icl",
        "before": 1,
        "after": 2,
        "figure": "accuracy",
        "value": 0.4,
        "baseline": 0.5,
    }
