"""The counts of a run, and the record of a step that follows from them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from linly.config.shapes import Linear
from linly.curriculum.apportion import Phase
from linly.curriculum.curves import CurveFunction
from linly.curriculum.mixture import Mixture
from linly.data.cursor import SourceCursor
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import Row
from linly.records.metrics import metrics_of
from linly.records.row_loss import RowLoss
from linly.records.span import Span
from linly.records.step_record import StepRecord
from linly.training.recording.run_counts import Machine, RunCounts, StepFacts

LENGTH = 8
FACTS = StepFacts(step=1, lr=1e-4, grad_norm=1.5, skipped=True, seconds=2.0, wait_s=0.5)


def mixed_row(index: int, source: str) -> MixedRow:
    ids = np.ones(LENGTH, np.int32)
    spans = (Span(f"{source}.jsonl", index, 0, LENGTH - 1),)
    row = Row(
        source, 0, ids, ids, np.array([0, LENGTH - 1], np.int32), spans, 1, SourceCursor(), ()
    )
    return MixedRow(index, 0, row, b"")


def record_of_a_step() -> StepRecord:
    halves = CurveFunction([0.0], [0.5], Linear())
    mixture = Mixture({"a": halves, "b": halves}, {"a": {"en": 1}, "b": {"zh": 1}}, num_rows=4)
    counts = RunCounts(mixture.sources, Machine(1.0, 1e3), sequence_length=LENGTH)
    rows = [mixed_row(0, "en"), mixed_row(1, "zh")]
    losses = [RowLoss(row.index, row.row.source, 7.0, LENGTH - 1) for row in rows]
    return counts.count(rows, losses, FACTS, Phase(0, mixture))


def test_counting_a_step_sets_every_metric() -> None:
    counted, empty = record_of_a_step(), StepRecord(step=1)
    stored = [field.name for field in fields(StepRecord) if field.name in metrics_of(StepRecord)]
    assert [key for key in stored if getattr(counted, key) == getattr(empty, key)] == []
