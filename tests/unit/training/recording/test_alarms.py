"""Each rule raises its alarm when its condition begins to hold, once, and again after it ceased."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.sections.watching_sections import AlarmSettings
from linly.records.evaluation_record import EvaluationRecord, SourceEvaluation
from linly.records.step_record import StepRecord
from linly.records.task_record import TaskEvaluation
from linly.training.recording.alarms import AlarmWatch, loss_rise


def step(number: int, **changes: Any) -> StepRecord:
    calm = StepRecord(
        step=number,
        drift_rows_by_source={"en": 0.4, "zh": -0.4},
        loss_by_source={"en": 2.0, "zh": 3.0},
        data_wait_fraction=0.0,
        rows_by_source={"en": 8 * number, "zh": 8 * number},
    )
    return replace(calm, **changes)


def evaluation(number: int, en: float) -> EvaluationRecord:
    sources = {"en": SourceEvaluation(bits_per_byte=en), "empty": SourceEvaluation()}
    return EvaluationRecord(step=number, sources=sources)


def test_a_task_that_drops_names_its_figure_once() -> None:
    def tasks(number: int, accuracy: float) -> EvaluationRecord:
        return EvaluationRecord(step=number, tasks={"icl": TaskEvaluation(accuracy=accuracy)})

    watch = AlarmWatch(AlarmSettings())
    assert not watch.evaluation(tasks(0, 0.5))
    assert not watch.evaluation(tasks(10, 0.45))
    assert not watch.evaluation(EvaluationRecord(step=15))  # without the tasks
    (alarm,) = watch.evaluation(tasks(20, 0.44))
    assert (alarm.step, alarm.rule, alarm.source) == (20, "task_drop", "icl")
    assert alarm.text == (
        "task icl: accuracy 12.0% worse than at step 0 (0.500 to 0.440), allowed: 10.0%"
    )
    assert not watch.evaluation(tasks(30, 0.3))


def test_a_calm_run_raises_nothing() -> None:
    watch = AlarmWatch(AlarmSettings(window=5))
    assert not watch.evaluation(evaluation(0, 1.0))
    assert not any(watch.step(step(number)) for number in range(1, 40))
    assert not watch.evaluation(evaluation(40, 1.09))


def test_drift_above_one_row_names_its_source_once() -> None:
    watch = AlarmWatch(AlarmSettings())
    assert not watch.step(step(1, drift_rows_by_source={"en": 1.0}))
    (alarm,) = watch.step(step(2, drift_rows_by_source={"en": -1.2}))
    assert (alarm.step, alarm.rule, alarm.source) == (2, "drift", "en")
    assert "-1.20 rows off its plan, allowed: 1" in alarm.text
    assert not watch.step(step(3, drift_rows_by_source={"en": -1.3}))
    assert not watch.step(step(4))
    assert [a.rule for a in watch.step(step(5, drift_rows_by_source={"en": 1.2}))] == ["drift"]


def test_a_loss_that_rises_over_a_window() -> None:
    watch = AlarmWatch(AlarmSettings(window=4))
    raised = []
    for number in range(1, 20):
        loss = 2.0 if number <= 8 else 2.3
        raised += watch.step(step(number, loss_by_source={"en": loss, "zh": None}))
    assert [(alarm.step, alarm.rule, alarm.source) for alarm in raised] == [(11, "loss_rise", "en")]


def test_a_skipped_steps_loss_does_not_count() -> None:
    watch = AlarmWatch(AlarmSettings(window=2))
    for number in range(1, 12):
        wild = number % 3 == 0
        loss = 900.0 if wild else 2.0
        assert not watch.step(step(number, loss_by_source={"en": loss}, skipped=wild))


def test_forgetting_is_measured_from_step_0() -> None:
    watch = AlarmWatch(AlarmSettings())
    watch.evaluation(evaluation(0, 1.0))
    assert not watch.evaluation(evaluation(10, 1.08))
    (alarm,) = watch.evaluation(evaluation(20, 1.2))
    assert (alarm.rule, alarm.source) == ("forgetting", "en")
    assert "+20.0% since step 0 (1.000 to 1.200), allowed: +10.0%" in alarm.text


def test_waiting_for_data_over_a_window() -> None:
    watch = AlarmWatch(AlarmSettings(window=4))
    raised = [a for n in range(1, 9) for a in watch.step(step(n, data_wait_fraction=0.2))]
    assert [(alarm.step, alarm.rule) for alarm in raised] == [(4, "data_wait")]


def test_a_step_that_was_not_computed_waited_for_nothing() -> None:
    watch = AlarmWatch(AlarmSettings(window=4, data_wait=0.15))
    waits = [0.2, None, 0.2, None, 0.2, None, 0.2]
    raised = [
        a for n, wait in enumerate(waits, 1) for a in watch.step(step(n, data_wait_fraction=wait))
    ]
    assert [(alarm.step, alarm.rule) for alarm in raised] == [(7, "data_wait")]
    assert "waiting for data 20.0% of the last 4 steps" in raised[0].text


def test_bad_records_over_a_window() -> None:
    watch = AlarmWatch(AlarmSettings(window=4))
    raised = [a for n in range(1, 9) for a in watch.step(step(n), bad_records=2)]
    assert [(alarm.step, alarm.rule) for alarm in raised] == [(4, "quarantine")]
    assert "8 bad records for the last 64 rows" in raised[0].text


@given(st.lists(st.floats(0.1, 10), min_size=0, max_size=30), st.integers(2, 8))
def test_loss_rise_is_the_change_between_two_means(losses: list[float], window: int) -> None:
    rise = loss_rise(losses, window)
    if len(losses) < 2 * window:
        assert rise is None
    else:
        now, before = losses[-window:], losses[-2 * window : -window]
        assert rise == pytest.approx(sum(now) / sum(before) - 1)
