"""What a checkpoint keeps of the training state, and what an evaluation changes in it."""

from __future__ import annotations

import orjson

from linly.config.sections.watching_sections import GuardSettings
from linly.curriculum.timeline import Timeline
from linly.records.evaluation_record import SourceEvaluation
from linly.records.row_loss import RowLoss
from linly.training.loop.training_state import TrainingState
from linly.training.recording.guards import Guards
from linly.training.recording.run_counts import Machine, RunCounts


def new_state() -> TrainingState:
    counts = RunCounts(["zh"], Machine(1.0, None), sequence_length=8)
    return TrainingState(Timeline(8, (), {}), Guards(GuardSettings()), counts)


def result(bits: float) -> dict[str, SourceEvaluation]:
    return {"zh": SourceEvaluation(language="zh", documents=1, loss=bits, bits_per_byte=bits)}


def test_a_restored_state_is_the_saved_one() -> None:
    state = new_state()
    state.add_evaluation(result(2.0))
    state.step = 3
    state.guards.accept([RowLoss(0, "zh", 7.0, 7)])
    state.counts.tokens_seen = 24
    state.add_evaluation(result(1.5))
    saved = orjson.loads(orjson.dumps(state.state_dict()))
    restored = new_state()
    restored.load_state_dict(saved)
    assert restored.state_dict() == state.state_dict()
    assert (restored.step, restored.baseline, restored.latest) == (3, result(2.0), result(1.5))


def test_only_the_evaluation_before_the_first_step_is_the_baseline() -> None:
    state = new_state()
    assert not state.is_evaluated
    state.add_evaluation(result(2.0))
    assert state.is_evaluated
    state.step = 1
    assert not state.is_evaluated
    state.add_evaluation(result(1.0))
    assert (state.baseline, state.latest, state.evaluated_step) == (result(2.0), result(1.0), 1)
