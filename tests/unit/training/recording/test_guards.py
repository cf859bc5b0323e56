"""When a step is skipped, and when training gives up."""

from __future__ import annotations

import math

import orjson
import pytest

from linly.config.sections.watching_sections import GuardSettings
from linly.errors import TrainingError
from linly.records.row_loss import RowLoss, loss_by_source
from linly.training.recording.guards import MIN_WINDOW, Guards

SETTINGS = GuardSettings(spike=4.0, spike_window=20, max_consecutive_skips=3)


def step(zh: float, en: float = 2.0, *, first_row: int = 0) -> list[RowLoss]:
    return [RowLoss(first_row, "zh", zh * 10, 10), RowLoss(first_row + 1, "en", en * 10, 10)]


def warmed() -> Guards:
    guards = Guards(SETTINGS)
    for _ in range(MIN_WINDOW):
        guards.accept(step(2.0))
    return guards


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_its_row(value: float) -> None:
    skip_reason = Guards(SETTINGS).check_losses(step(value, first_row=40))
    assert skip_reason is not None
    assert (skip_reason.rows, skip_reason.sources) == ((40,), ("zh",))


def test_a_spike_is_seen_per_source() -> None:
    guards = warmed()
    assert guards.check_losses(step(7.9)) is None
    skip_reason = guards.check_losses(step(2.0, en=8.1, first_row=6))
    assert skip_reason is not None
    assert (skip_reason.rows, skip_reason.sources) == ((7,), ("en",))
    assert "loss of en is 8.100, over 4 times the median 2.000" in skip_reason.text


def test_the_first_steps_cannot_spike() -> None:
    guards = Guards(SETTINGS)
    for _ in range(MIN_WINDOW - 1):
        guards.accept(step(0.1))
    assert guards.check_losses(step(100.0)) is None


def test_a_skipped_loss_does_not_enter_the_window() -> None:
    guards = warmed()
    for _ in range(2):
        skip_reason = guards.check_losses(step(50.0))
        assert skip_reason is not None
        guards.skip(skip_reason)
    assert guards.check_losses(step(9.0)) is not None


def test_too_many_in_a_row_end_training_and_name_the_rows() -> None:
    guards = Guards(SETTINGS)
    skip_reason = guards.check_losses(step(math.nan, first_row=12))
    assert skip_reason is not None
    guards.skip(skip_reason)
    guards.skip(skip_reason)
    guards.accept(step(2.0))  # starts the count again
    guards.skip(skip_reason)
    guards.skip(skip_reason)
    with pytest.raises(TrainingError, match=r"3 steps in a row .*rows 12 of zh"):
        guards.skip(skip_reason)
    assert guards.num_skipped == 5


def test_state_goes_through_json_and_decides_the_same() -> None:
    guards = warmed()
    restored = Guards(SETTINGS)
    restored.load_state_dict(orjson.loads(orjson.dumps(guards.state_dict())))
    assert restored.state_dict() == guards.state_dict()
    assert restored.check_losses(step(8.1)) == guards.check_losses(step(8.1)) is not None


def test_a_source_without_targets_has_no_loss() -> None:
    rows = [RowLoss(0, "a", 0.0, 0), RowLoss(1, "b", 6.0, 2), RowLoss(2, "b", 0.0, 4)]
    assert loss_by_source(rows) == {"a": None, "b": 1.0}
