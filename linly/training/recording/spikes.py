"""Loss spikes and skipped steps of a run, found in its logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from linly.config.sections.watching_sections import GuardSettings
from linly.records.row_loss import RowLoss
from linly.records.step_record import StepRecord
from linly.training.recording.guards import Guards


@dataclass(frozen=True, slots=True)
class Spike:
    """A step that a guard skipped, or whose loss jumped by the guards' rule.

    Attributes:
        reason: Reason in the guards' words.
        skipped: Whether the step was skipped.
    """

    step: int
    reason: str
    skipped: bool


@dataclass(frozen=True, slots=True)
class SkippedByFork:
    """Consecutive steps that a fork skipped: their rows were consumed but not trained on.

    Attributes:
        first_step: First step, from 1.
        first_row: First row in the global stream, from 0.
    """

    first_step: int
    last_step: int
    first_row: int
    last_row: int


def find_skipped_by_fork(events: Iterable[Mapping[str, Any]]) -> list[SkippedByFork]:
    """Steps that a fork skipped, from the run's events."""
    found: list[SkippedByFork] = []
    for event in events:
        rows = event.get("rows")
        if event.get("kind") != "pass" or not isinstance(rows, list) or len(rows) != 2:
            continue
        step, (first_row, last_row) = int(event["step"]), rows
        if found and step == found[-1].last_step + 1:
            found[-1] = replace(found[-1], last_step=step, last_row=last_row)
        else:
            found.append(SkippedByFork(step, step, first_row, last_row))
    return found


def find_spikes(
    steps: Iterable[StepRecord],
    events: Iterable[Mapping[str, Any]],
    settings: GuardSettings,
) -> list[Spike]:
    """Replay a run's log through the guards.

    Skipped steps come from the events, with any reason. The others are compared with the median
    loss of each source's earlier steps, which shows spikes that a smaller `spike` would have
    caught.

    Args:
        steps: Steps of the run.
        events: Lines of events.jsonl.
        settings: Guard settings; `spike` and `spike_window` are used.
    """
    skips = {
        event["step"]: str(event.get("text", "")) for event in events if event.get("kind") == "skip"
    }
    guards = Guards(settings)
    found = []
    for record in steps:
        losses = [
            RowLoss(0, source, loss, 1)
            for source, loss in record.loss_by_source.items()
            if loss is not None
        ]
        skip_reason = guards.check_losses(losses)
        if record.skipped:
            if record.step in skips:  # steps skipped by a fork have no guard event
                found.append(Spike(record.step, skips[record.step], True))
            continue
        guards.accept(losses)
        if skip_reason is not None:
            found.append(Spike(record.step, skip_reason.text, False))
    return found
