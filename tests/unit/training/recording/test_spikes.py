"""Steps whose loss jumped are found again by the guards' own rule."""

from __future__ import annotations

from typing import Any

import pytest

from linly.config.sections.watching_sections import GuardSettings
from linly.errors import TrainingError
from linly.records.row_loss import RowLoss
from linly.records.step_record import StepRecord
from linly.training.recording.guards import Guards
from linly.training.recording.spikes import SkippedByFork, Spike, find_skipped_by_fork, find_spikes

SETTINGS = GuardSettings(spike=3.0, spike_window=20, max_consecutive_skips=99)


def trained(losses: list[dict[str, float]]) -> tuple[list[StepRecord], list[dict[str, Any]]]:
    """Metrics and events as a run with these losses leaves them."""
    guards, metrics, events = Guards(SETTINGS), [], []
    for step, by_source in enumerate(losses, start=1):
        rows = [RowLoss(0, source, 5 * loss, 5) for source, loss in by_source.items()]
        skip_reason = guards.check_losses(rows)
        if skip_reason is None:
            guards.accept(rows)
        else:
            guards.skip(skip_reason)
            events.append({"step": step, "kind": "skip", "text": skip_reason.text})
        metrics.append(
            StepRecord(step=step, loss_by_source=dict(by_source), skipped=skip_reason is not None)
        )
    return metrics, events


def test_the_skipped_steps_are_found_and_only_they() -> None:
    losses = [{"wiki": 2.0, "books": 1.0 + step / 100} for step in range(60)]
    losses[30]["wiki"], losses[45]["books"] = 6.5, float("nan")
    metrics, events = trained(losses)
    found = find_spikes(metrics, events, SETTINGS)
    assert [(spike.step, spike.skipped) for spike in found] == [(31, True), (46, True)]
    assert found[0].reason.startswith("loss of wiki is 6.500, over 3 times the median 2.000")
    assert found[1].reason == "loss is not finite"


def test_a_smaller_factor_finds_what_was_let_through() -> None:
    losses = [{"wiki": 2.0} for _ in range(40)]
    losses[20]["wiki"] = 5.0
    metrics, events = trained(losses)
    assert find_spikes(metrics, events, SETTINGS) == []
    (spike,) = find_spikes(metrics, events, SETTINGS.model_copy(update={"spike": 2.0}))
    assert (spike.step, spike.skipped) == (21, False)


def test_steps_that_a_fork_skipped_are_no_spikes() -> None:
    metrics, events = trained([{"wiki": 2.0} for _ in range(20)])
    metrics += [StepRecord(step=21, loss_by_source={"wiki": None}, skipped=True)]
    metrics += [StepRecord(step=22, loss_by_source={"wiki": 9.0})]
    found = find_spikes(metrics, events, SETTINGS)
    assert [(spike.step, spike.skipped) for spike in found] == [(22, False)]
    assert isinstance(found[0], Spike)


def test_steps_in_a_row_that_a_fork_skipped_are_one_stretch_of_rows() -> None:
    events = [{"step": 4, "kind": "fork", "text": "forked"}, {"step": 5, "kind": "skip"}]
    events += [
        {"step": step, "kind": "pass", "rows": [8 * step - 8, 8 * step - 1]} for step in (6, 7, 11)
    ]
    assert find_skipped_by_fork(events) == [
        SkippedByFork(6, 7, 40, 55),
        SkippedByFork(11, 11, 80, 87),
    ]


def test_too_many_skips_end_a_run_and_not_the_look_back() -> None:
    few = SETTINGS.model_copy(update={"max_consecutive_skips": 1})
    with pytest.raises(TrainingError):
        Guards(few).skip(Guards(few).gradient_reason([]))
    metrics, events = trained([{"wiki": 2.0 if step < 20 else 90.0} for step in range(25)])
    assert [spike.step for spike in find_spikes(metrics, events, few)] == [21, 22, 23, 24, 25]
