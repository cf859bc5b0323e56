"""Steps of a run whose loss jumped: what its guards saw, found again in its logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from linly.config.settings import GuardSettings
from linly.training.guards import Guards, RowLoss


@dataclass(frozen=True, slots=True)
class Spike:
    """A step that was skipped, or whose loss jumped by the guards' own rule.

    Attributes:
        reason: As the guards put it.
        skipped: Whether the step was left out of training.
    """

    step: int
    reason: str
    skipped: bool


def find_spikes(
    metrics: Iterable[Mapping[str, Any]],
    events: Iterable[Mapping[str, Any]],
    settings: GuardSettings,
) -> list[Spike]:
    """Go through a run's log as its guards did.

    Skipped steps are taken from the events, whatever they were skipped for; the others are
    compared with the median loss of each source's steps before, which shows jumps that a smaller
    `spike` would have caught.

    Args:
        metrics: Lines of metrics.jsonl.
        events: Lines of events.jsonl.
        settings: `spike` and `spike_window` count.
    """
    skips = {event["step"]: str(event["text"]) for event in events if event.get("kind") == "skip"}
    guards = Guards(settings)
    found = []
    for record in metrics:
        step = int(record["step"])
        losses = [
            RowLoss(0, source, float(loss), 1)
            for source, loss in record["loss_by_source"].items()
            if loss is not None
        ]
        alarm = guards.check_losses(losses)
        if record["skipped"]:
            if step in skips:  # a fork passes over steps without a loss: no guard objected
                found.append(Spike(step, skips[step], True))
            continue
        guards.accept(losses)
        if alarm is not None:
            found.append(Spike(step, alarm.reason, False))
    return found
