"""Losses of the rows of a step, and their means over the step and over each source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowLoss:
    """Loss of a row: its index in the global stream, and summed nats over its targets."""

    row: int
    source: str
    nll: float
    targets: int


def mean_loss(losses: Sequence[RowLoss]) -> float | None:
    """Loss per supervised target over rows, in nats; None without targets."""
    targets = sum(loss.targets for loss in losses)
    return math.fsum(loss.nll for loss in losses) / targets if targets else None


def loss_by_source(losses: Sequence[RowLoss]) -> dict[str, float | None]:
    """Loss per supervised target of each source, in nats; None without targets."""
    nll: dict[str, float] = {}
    targets: dict[str, int] = {}
    for loss in losses:
        nll[loss.source] = nll.get(loss.source, 0.0) + loss.nll
        targets[loss.source] = targets.get(loss.source, 0) + loss.targets
    return {
        source: nll[source] / targets[source] if targets[source] else None for source in sorted(nll)
    }
