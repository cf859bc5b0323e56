"""One step: what it returns, and what it leaves as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from linly.config.sections.watching_sections import GuardSettings
from linly.data.cursor import SourceCursor
from linly.data.loading.loader import MicroBatch, StepBatch
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import IGNORE_LABEL, Row
from linly.records.row_loss import RowLoss
from linly.training.engine.engine import Engine
from linly.training.loop.step import Signals, skip_step, take_step
from linly.training.ranks.processes import Processes
from linly.training.recording.guards import MIN_WINDOW, Guards
from tests.support.engines import state_of, tiny_engine

QUIET = Signals(asked_to_stop=False, save_failed=False)


@pytest.fixture
def engine(alone: Processes) -> Engine:
    return tiny_engine()


def batch() -> StepBatch:
    ids = np.arange(8, dtype=np.int32)
    labels = ids.copy()
    labels[0] = IGNORE_LABEL
    row = Row("zh", 0, ids, labels, np.zeros(1, np.int32), (), 0, SourceCursor(), ())
    tensors = [torch.from_numpy(array.astype(np.int64)).unsqueeze(0) for array in (ids, labels)]
    micro_batch = MicroBatch(tensors[0], tensors[1], tensors[0])
    return StepBatch(1, (MixedRow(5, 0, row, b""),), (micro_batch,), 0.0)


def guards(spike: float = 10.0) -> Guards:
    return Guards(GuardSettings(spike=spike))


def test_an_applied_step_moves_weights_and_names_its_rows(engine: Engine, alone: Processes) -> None:
    before = state_of(engine)
    outcome = take_step(engine, batch(), guards(), alone, lr=1e-3, signals=QUIET)
    (loss,) = outcome.losses
    assert (outcome.kind, outcome.skip_reason, outcome.signals) == ("applied", None, QUIET)
    assert (loss.row, loss.source, loss.targets) == (5, "zh", 7)
    assert loss.nll / 7 == pytest.approx(math.log(32), rel=0.2), "an untrained model knows nothing"
    assert 0 < outcome.grad_norm < math.inf
    assert any(not torch.equal(before[key], now) for key, now in state_of(engine).items())


def test_a_step_that_a_guard_skips_moves_nothing(engine: Engine, alone: Processes) -> None:
    before, strict = state_of(engine), guards(spike=2.0)
    for _ in range(MIN_WINDOW):
        strict.accept([RowLoss(0, "zh", 0.7, 7)])
    outcome = take_step(engine, batch(), strict, alone, lr=1e-3, signals=QUIET)
    assert (outcome.kind, outcome.grad_norm) == ("skipped", math.inf)
    assert outcome.skip_reason is not None
    assert outcome.skip_reason.rows == (5,)
    assert all(torch.equal(before[key], now) for key, now in state_of(engine).items())
    assert strict.num_skipped == 0, "the loop counts, after it has recorded the step"


def test_a_step_that_a_fork_skips_has_no_losses(alone: Processes) -> None:
    asked = Signals(asked_to_stop=True, save_failed=False)
    outcome = skip_step(batch(), alone, signals=asked)
    assert (outcome.kind, outcome.signals) == ("skipped_by_fork", asked)
    assert [math.isnan(loss.nll) for loss in outcome.losses] == [True]
