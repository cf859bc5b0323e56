"""Counts of a run's rows and tokens, and the record of a step that follows from them.

Every rank counts, so that each rank has the counts for a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linly.curriculum.apportion import Phase
from linly.curriculum.drift import count_rows
from linly.curriculum.mixture import Mixture
from linly.data.mixing.mixed_row import MixedRow
from linly.records.row_loss import RowLoss, loss_by_source, mean_loss
from linly.records.step_record import StepRecord
from linly.training.recording.new_pieces import NewPieces


@dataclass(frozen=True, slots=True)
class StepFacts:
    """Facts about a step, in addition to its rows.

    Attributes:
        grad_norm: Gradient norm before clipping; infinite if the step was skipped.
        seconds: Seconds since the previous step, without evaluation and saving.
        wait_s: Seconds of it spent waiting for data.
        is_skipped_by_fork: Whether a fork skipped the step: rows were consumed, without losses.
    """

    step: int
    lr: float
    grad_norm: float
    skipped: bool
    seconds: float
    wait_s: float
    is_skipped_by_fork: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware figures for throughput and MFU.

    Attributes:
        flops_per_token: Floating-point operations per token of forward and backward.
        peak_flops: Peak FLOP/s of all devices together; None if unknown.
    """

    flops_per_token: float
    peak_flops: float | None

    def mfu(self, tokens_per_second: float | None) -> float | None:
        """Model FLOPs utilization at a throughput; None if it or the peak is unknown."""
        if tokens_per_second is None or not self.peak_flops:
            return None
        return tokens_per_second * self.flops_per_token / self.peak_flops


class RunCounts:
    """Counts rows and tokens, and builds the records of each step."""

    def __init__(
        self,
        sources: Iterable[str],
        machine: Machine,
        *,
        sequence_length: int,
        new_pieces: NewPieces | None = None,
    ) -> None:
        """Start a run's counts at zero.

        Args:
            sources: Sources of all phases of the run.
            machine: Hardware figures.
            sequence_length: Row length in tokens.
            new_pieces: Counter of new pieces; None if the vocabulary has none.
        """
        self.new_pieces = new_pieces
        self._machine = machine
        self._sequence_length = sequence_length
        sources = sorted(sources)
        self._rows = dict.fromkeys(sources, 0)
        self._supervised = dict.fromkeys(sources, 0)
        self._padding = dict.fromkeys(sources, 0)
        self._epochs = dict.fromkeys(sources, 0)
        self._phase_from = 0
        self._rows_before: dict[str, int] = {}
        self.largest_drift = 0.0
        self.tokens_seen = 0

    def set_flops(self, flops_per_token: float) -> None:
        """Set the floating-point operations per token, which depend on what trains."""
        self._machine = replace(self._machine, flops_per_token=flops_per_token)

    def count(
        self, rows: Sequence[MixedRow], losses: Sequence[RowLoss], facts: StepFacts, phase: Phase
    ) -> StepRecord:
        """Count a step's rows and build its record.

        Args:
            rows: Rows of the global batch, in order.
            losses: Losses of the same rows.
            facts: Facts about the step.
            phase: Phase that contains the rows.
        """
        assert phase.from_row == rows[-1].phase_from, "a phase begins within a step"
        self._enter(phase)
        counted = count_rows(
            phase,
            [mixed.row.source for mixed in rows],
            first_row=rows[0].index,
            made=self._rows,
            made_before_phase=self._rows_before,
        )
        drift = counted.drift
        self.largest_drift = max(self.largest_drift, float(np.abs(drift).max()))
        for mixed in rows:
            self._rows[mixed.row.source] += 1
            self._supervised[mixed.row.source] += mixed.row.num_supervised
            self._padding[mixed.row.source] += mixed.row.num_padding
            self._epochs[mixed.row.source] = mixed.row.epoch
        if self.new_pieces is not None:
            self.new_pieces.count(rows)
        num_tokens = len(rows) * self._sequence_length
        self.tokens_seen += num_tokens
        farthest = np.abs(drift).argmax(axis=0)
        drift = drift[farthest, np.arange(drift.shape[1])]
        return self._record(rows, losses, facts, phase.mixture, counted.planned[-1], drift)

    def state_dict(self) -> dict[str, Any]:
        """Counts in JSON form."""
        return {
            "rows": self._rows,
            "supervised": self._supervised,
            "padding": self._padding,
            "epochs": self._epochs,
            "segment_from": self._phase_from,
            "rows_before": self._rows_before,
            "largest_drift": self.largest_drift,
            "tokens_seen": self.tokens_seen,
            "new_pieces": self.new_pieces.state_dict() if self.new_pieces else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a checkpoint's counts."""
        self._rows |= state["rows"]
        self._supervised |= state["supervised"]
        self._padding |= state["padding"]
        self._epochs |= state["epochs"]
        self._phase_from = state["segment_from"]
        self._rows_before = dict(state["rows_before"])
        self.largest_drift = state["largest_drift"]
        self.tokens_seen = state["tokens_seen"]
        if self.new_pieces is not None and state["new_pieces"] is not None:
            self.new_pieces.load_state_dict(state["new_pieces"])

    def _enter(self, phase: Phase) -> None:
        """Count rows of earlier phases as realized in the plan, if the phase is a new one."""
        if phase.from_row != self._phase_from:
            self._phase_from = phase.from_row
            self._rows_before = dict(self._rows)

    def _record(
        self,
        rows: Sequence[MixedRow],
        losses: Sequence[RowLoss],
        facts: StepFacts,
        mixture: Mixture,
        planned: NDArray[np.float64],
        drift: NDArray[np.float64],
    ) -> StepRecord:
        """Record of a step; `drift` is that of each source at its row farthest from the plan."""
        sources = mixture.sources
        shares = mixture.shares([mixed.index for mixed in rows]).mean(axis=0)
        realized = dict.fromkeys(sources, 0.0)
        for mixed in rows:
            realized[mixed.row.source] += 1 / len(rows)
        by_source = loss_by_source(losses)
        is_measured = not facts.is_skipped_by_fork
        num_tokens = len(rows) * self._sequence_length
        tokens_per_second = num_tokens / facts.seconds if is_measured else None
        return StepRecord(
            step=facts.step,
            time=time.time(),
            tokens_seen=self.tokens_seen,
            lr=facts.lr,
            loss=mean_loss(losses) if is_measured else None,
            loss_by_source=by_source if is_measured else dict.fromkeys(by_source),
            grad_norm=facts.grad_norm if is_measured else None,
            tokens_per_second=tokens_per_second,
            data_wait_fraction=facts.wait_s / facts.seconds if is_measured else None,
            mfu=self._machine.mfu(tokens_per_second),
            target_share_by_source=_by_source(sources, shares),
            realized_share_by_source=realized,
            rows_by_source=dict(self._rows),
            planned_rows_by_source=_by_source(sources, planned),
            drift_rows_by_source=_by_source(sources, drift),
            supervised_tokens_by_source=dict(self._supervised),
            padding_by_source=dict(self._padding),
            epoch_by_source=dict(self._epochs),
            skipped=facts.skipped,
        )


def _by_source(sources: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    return {source: float(value) for source, value in zip(sources, values, strict=True)}
