"""How an engine takes over a model's weights: exact masters, frozen ones untouched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.modeling.trainable import make_trainable
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes
from tests.support.models import tiny_model


@pytest.fixture(params=["full", {"lora": {"rank": 8, "dropout": 0.0, "also": ["lm_head"]}}])
def settings(request: pytest.FixtureRequest) -> Iterator[TrainingSettings]:
    form = {"micro_batch": 1, "activation_checkpointing": True, "trainable": request.param}
    yield TrainingSettings.model_validate(form)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_master_weights_are_the_stored_ones_to_the_last_bit(
    alone: Processes, settings: TrainingSettings, dtype: torch.dtype
) -> None:
    model = tiny_model("llama", dtype=dtype)
    make_trainable(model, settings.trainable, seed=0)
    stored = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    engine = Engine(model, settings, accumulation=1)
    parameters = engine.parameters()
    assert parameters
    for name, parameter in parameters.items():
        master = engine.full_state(parameter)["master"]
        assert torch.equal(master, stored[name].float()), name
        assert torch.equal(parameter, master.bfloat16()), name


def test_a_step_and_a_discarded_one_leave_frozen_weights_alone(
    alone: Processes, settings: TrainingSettings
) -> None:
    model = tiny_model("llama")
    make_trainable(model, settings.trainable, seed=0)
    engine = Engine(model, settings, accumulation=1)
    trained = engine.parameters().keys()
    before = {name: p.detach().clone() for name, p in engine.module.named_parameters()}
    ids = torch.arange(8).unsqueeze(0)
    for act, moves in ((engine.discard, False), (lambda: engine.step(lr=1e-2), True)):
        engine.accumulate(MicroBatch(ids, ids, ids), step_targets=7)
        act()
        after = dict(engine.module.named_parameters())
        for name, weight in before.items():
            if name not in trained or not moves:
                assert torch.equal(weight, after[name]), name
    assert any(not torch.equal(before[name], after[name]) for name in trained)
