"""One step of training: gradients, the losses of all rows, the guards, the optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from linly.data.loading.loader import StepBatch
from linly.records.row_loss import RowLoss
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes
from linly.training.recording.guards import Guards, SkipReason


@dataclass(frozen=True, slots=True)
class Signals:
    """Events on some rank that all ranks must act on at the same step.

    Attributes:
        asked_to_stop: Whether the process was asked to stop.
        save_failed: Whether the pending checkpoint could not be written.
    """

    asked_to_stop: bool
    save_failed: bool


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """Result of a step, the same on all ranks.

    Attributes:
        kind: Whether the update was applied, skipped by a guard, or the step skipped by a fork,
            which consumes its rows without training on them.
        losses: Losses of all rows of the global batch; NaN if a fork skipped the step.
        grad_norm: Gradient norm before clipping; infinite if the update was not applied.
        skip_reason: Reason of the guard that skipped the update; None unless `kind` is "skipped".
        signals: Signals of any rank.
    """

    kind: Literal["applied", "skipped", "skipped_by_fork"]
    losses: tuple[RowLoss, ...]
    grad_norm: float
    skip_reason: SkipReason | None
    signals: Signals


def take_step(
    engine: Engine,
    batch: StepBatch,
    guards: Guards,
    processes: Processes,
    *,
    lr: float,
    signals: Signals,
) -> StepOutcome:
    """Train on a global batch, unless a guard finds a reason to skip it; a collective.

    The number of targets in the global batch is known from its rows, so that the loss is per
    token, independent of the split into micro-batches and ranks (invariant 10).

    Args:
        engine: Model and optimizer.
        batch: Rows of the step.
        guards: Guards that check the losses; not changed.
        processes: Processes of the run.
        lr: Learning rate of the step.
        signals: Signals of this rank.
    """
    num_targets = sum(mixed.row.num_supervised for mixed in batch.rows)
    nll = []
    for micro_batch in batch.micro_batches:
        with processes.waiting(f"step {batch.step}: gradients"):
            nll.append(engine.accumulate(micro_batch, step_targets=num_targets))
    gathered, agreed = _exchange(processes, batch.step, torch.cat(nll), signals)
    losses = _row_losses(batch, gathered)
    with processes.waiting(f"step {batch.step}: optimizer"):
        skip_reason = guards.check_losses(losses)
        if skip_reason is not None:
            engine.discard()
            return StepOutcome("skipped", losses, math.inf, skip_reason, agreed)
        result = engine.step(lr=lr)
    if not result.applied:
        return StepOutcome("skipped", losses, math.inf, guards.gradient_reason(losses), agreed)
    return StepOutcome("applied", losses, result.grad_norm, None, agreed)


def skip_step(batch: StepBatch, processes: Processes, *, signals: Signals) -> StepOutcome:
    """Consume a step's rows without training on them; a collective.

    Otherwise it counts as a step: in the stream, the schedule and the records.
    """
    nothing = torch.empty(0, device=processes.device)
    _, agreed = _exchange(processes, batch.step, nothing, signals)
    losses = _row_losses(batch, [math.nan] * len(batch.rows))
    return StepOutcome("skipped_by_fork", losses, math.inf, None, agreed)


def _row_losses(batch: StepBatch, nll: Sequence[float]) -> tuple[RowLoss, ...]:
    return tuple(
        RowLoss(mixed.index, mixed.row.source, loss, mixed.row.num_supervised)
        for mixed, loss in zip(batch.rows, nll, strict=True)
    )


def _exchange(
    processes: Processes, step: int, nll: torch.Tensor, signals: Signals
) -> tuple[list[float], Signals]:
    """Losses of all ranks' rows, in the order of the global batch, and the signals of any rank."""
    with processes.waiting(f"step {step}: losses"):
        gathered, raised = processes.gather_flagged(
            nll.double(), (signals.asked_to_stop, signals.save_failed)
        )
    return gathered.flatten().tolist(), Signals(*raised)
