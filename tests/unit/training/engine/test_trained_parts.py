"""Parts of a model: frozen ones keep every bit, scaled ones are an independent AdamW's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from deepspeed.utils import safe_get_full_grad

from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.modeling.parts.model_parts import PARTS, Part, PartRange, parameter_parts, trained_parts
from linly.modeling.trainable import make_trainable
from linly.training.engine.engine import Engine
from linly.training.engine.trained_parts import merge_ranges
from linly.training.ranks.processes import Processes
from tests.support.engines import state_of
from tests.support.models import tiny_model

NEW = range(20, 29)
"""New tokens of 32 rows: 20 old ones before, 3 rows of padding after."""
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LR = 1e-2


def engine_of(training: dict[str, Any], **sizes: Any) -> Engine:
    form = {"micro_batch": 1, "activation_checkpointing": False, "weight_decay": 0.1, **training}
    settings = TrainingSettings.model_validate(form)
    model = tiny_model("llama", vocab_size=32, num_hidden_layers=1, **sizes)
    make_trainable(model, settings.optimized, seed=0)
    return Engine(model, settings, accumulation=1, new_rows=NEW)


def accumulate(engine: Engine) -> None:
    """Gradients of a row with old and new tokens."""
    ids, positions = torch.arange(14, 30, 2).unsqueeze(0), torch.arange(8).unsqueeze(0)
    engine.accumulate(MicroBatch(ids, ids, positions), step_targets=7)


def step(engine: Engine) -> float:
    accumulate(engine)
    return engine.step(lr=LR).grad_norm


def is_in_new_rows(name: str, shape: torch.Size) -> torch.Tensor:
    """Mask of the elements of new rows."""
    mask = torch.zeros(shape, dtype=torch.bool)
    if name in (EMBEDDING, HEAD):
        mask[NEW.start : NEW.stop] = True
    return mask


@pytest.mark.parametrize("is_tied", [False, True])
def test_only_new_rows_move_and_the_rest_keeps_every_bit(alone: Processes, is_tied: bool) -> None:
    engine = engine_of({"trainable": "new_rows"}, tie_word_embeddings=is_tied)
    assert set(engine.parameters()) == ({EMBEDDING} if is_tied else {EMBEDDING, HEAD})
    weights = {n: p.detach().clone() for n, p in engine.module.named_parameters()}
    before = state_of(engine)
    step(engine)
    step(engine)
    after = state_of(engine)
    for key, tensor in before.items():
        mask = is_in_new_rows(key.split(".", 1)[1], tensor.shape)
        assert torch.equal(tensor[~mask], after[key][~mask]), key
        assert not torch.equal(tensor[mask], after[key][mask]), key
    for name, parameter in engine.module.named_parameters():
        mask = is_in_new_rows(name, parameter.shape)
        assert torch.equal(weights[name][~mask], parameter[~mask]), name
    assert not after[f"exp_avg.{EMBEDDING}"][: NEW.start].any()
    assert not after[f"exp_avg.{EMBEDDING}"][NEW.stop :].any()


def test_all_rows_of_the_head_may_train_beside_the_new_ones(alone: Processes) -> None:
    engine = engine_of({"trainable": {"new_rows": {"head": "all"}}})
    before = state_of(engine)
    step(engine)
    after = state_of(engine)
    old = slice(0, NEW.start)
    assert torch.equal(before[f"master.{EMBEDDING}"][old], after[f"master.{EMBEDDING}"][old])
    assert (before[f"master.{HEAD}"][old] != after[f"master.{HEAD}"][old]).any(dim=1).all()


def test_the_gradient_norm_is_that_of_new_rows(alone: Processes) -> None:
    """Frozen rows are not measured, and so do not shrink the update of the others."""
    engine, whole = engine_of({"trainable": "new_rows"}), engine_of({})
    accumulate(whole)
    total = 0.0
    for name in (EMBEDDING, HEAD):
        gradient = safe_get_full_grad(whole.parameters()[name])
        total += float(gradient[NEW.start : NEW.stop].double().square().sum())
    assert step(engine) == pytest.approx(total**0.5, rel=1e-6)


def test_a_border_leaves_what_is_frozen_and_counts_steps_by_part(alone: Processes) -> None:
    engine = engine_of({})
    new = trained_parts(TrainingSettings.model_validate({"trainable": "new_rows"}).trainable)
    step(engine)
    engine.train_parts(new)
    first = state_of(engine)
    step(engine)
    step(engine)
    second = state_of(engine)
    for key, tensor in first.items():
        mask = is_in_new_rows(key.split(".", 1)[1], tensor.shape)
        assert torch.equal(tensor[~mask], second[key][~mask]), key
    assert engine.part_steps() == {part: 3 if part in new else 1 for part in PARTS}
    assert engine.optimizer_steps() == 3
    engine.train_parts(frozenset(PARTS))
    step(engine)
    third = state_of(engine)
    assert all(not torch.equal(second[key], third[key]) for key in second)
    assert engine.part_steps() == {part: 4 if part in new else 2 for part in PARTS}


def test_a_skipped_step_in_a_phase_changes_nothing(alone: Processes) -> None:
    engine = engine_of({"trainable": "new_rows"})
    before = state_of(engine)
    accumulate(engine)
    engine.discard()
    assert all(torch.equal(tensor, before[key]) for key, tensor in state_of(engine).items())
    assert set(engine.part_steps().values()) == {0}


def test_a_restart_begins_with_zero_moments(alone: Processes) -> None:
    engine = engine_of({})
    step(engine)
    engine.train_parts(frozenset(("body",)), restart=True)
    state = state_of(engine)
    assert not state["exp_avg.model.norm.weight"].any()
    assert state[f"exp_avg.{HEAD}"].any()
    assert engine.part_steps() == {part: 0 if part == "body" else 1 for part in PARTS}


class Reference:
    """AdamW by its formula in fp64, with a rate and a step count for each element."""

    def __init__(self, masters: dict[str, torch.Tensor]) -> None:
        self.weights = {name: master.double() for name, master in masters.items()}
        self.first = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.second = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.steps = {name: torch.zeros_like(w) for name, w in self.weights.items()}

    def step(self, gradients: dict[str, torch.Tensor], rate: Callable[[str], torch.Tensor]) -> None:
        """Step the elements whose rate is not 0."""
        for name, gradient in gradients.items():
            lr, g = rate(name).double(), gradient.double()
            moves = lr > 0
            self.steps[name] += moves
            beta1, beta2 = 0.9, 0.95
            first = beta1 * self.first[name] + (1 - beta1) * g
            second = beta2 * self.second[name] + (1 - beta2) * g * g
            self.first[name] = torch.where(moves, first, self.first[name])
            self.second[name] = torch.where(moves, second, self.second[name])
            count = self.steps[name].clamp(min=1)
            decay = 0.1 if gradient.dim() > 1 else 0.0
            mean = self.first[name] / (1 - beta1**count)
            root = (self.second[name] / (1 - beta2**count)).sqrt()
            self.weights[name] -= lr * (mean / (root + 1e-8) + decay * self.weights[name])


SCALES = {"embeddings": 0.2, "head": 0.5, "new_rows": 3.0}


def rates(name: str, shape: torch.Size, parts: frozenset[Part]) -> torch.Tensor:
    """Learning rate of each element of a parameter, written out by hand."""
    old: Part = "embeddings" if name == EMBEDDING else "head" if name == HEAD else "body"
    new: Part = "new_embeddings" if name == EMBEDDING else "new_head"
    factor = {EMBEDDING: 0.2, HEAD: 0.5}.get(name, 1.0)
    rate = torch.full(shape, LR * factor if old in parts else 0.0)
    if old != "body":
        rate[NEW.start : NEW.stop] = LR * 3.0 if new in parts else 0.0
    return rate


def test_scales_and_borders_are_those_of_an_independent_adamw(alone: Processes) -> None:
    """Three steps of new rows, then three of everything, with a factor for each part."""
    engine = engine_of({"lr_scale": SCALES, "clip": 1e30})
    parameters = engine.parameters()
    reference = Reference({n: engine.full_state(p)["master"] for n, p in parameters.items()})
    new = frozenset(("new_embeddings", "new_head"))
    for parts in (new, new, new, *[frozenset(PARTS)] * 3):
        engine.train_parts(parts)
        accumulate(engine)
        gradients = {name: safe_get_full_grad(p).clone() for name, p in parameters.items()}
        engine.step(lr=LR)
        reference.step(
            gradients, lambda name, parts=parts: rates(name, parameters[name].shape, parts)
        )
    for name, parameter in parameters.items():
        state = engine.full_state(parameter)
        torch.testing.assert_close(
            state["master"].double(), reference.weights[name], rtol=0, atol=2e-6
        )
        torch.testing.assert_close(
            state["exp_avg"].double(), reference.first[name], rtol=1e-5, atol=1e-7
        )


def test_parts_of_a_model_cover_each_parameter_in_order() -> None:
    for is_tied in (False, True):
        model = tiny_model("llama", vocab_size=32, tie_word_embeddings=is_tied)
        found = parameter_parts(model, NEW)
        for name, parameter in model.named_parameters():
            ranges = found[name]
            ends = [0, *(each.end for each in ranges)]
            assert [each.start for each in ranges] == ends[:-1]
            assert ends[-1] == parameter.numel()
        parts = [each.part for each in found[EMBEDDING]]
        assert parts == ["embeddings", "new_embeddings", "embeddings"]
        assert is_tied is (HEAD not in found)


def test_ranges_of_a_part_without_a_gap_are_joined() -> None:
    body, head = ((part, start, end) for part, start, end in (("body", 0, 4), ("head", 9, 12)))
    ranges = [PartRange(*head), PartRange("body", 4, 9), PartRange(*body)]  # type: ignore[arg-type]
    assert merge_ranges(ranges) == [PartRange("body", 0, 9), PartRange("head", 9, 12)]
