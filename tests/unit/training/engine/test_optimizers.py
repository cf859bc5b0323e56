"""Every optimizer: its state is what torch keeps, and is saved and loaded to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.sections.training_section import OptimizerName, TrainingSettings
from linly.errors import CheckpointError
from linly.training.checkpoints import contents
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.manifest import Manifest
from linly.training.engine import engine as engine_module
from linly.training.engine.optimizers import Groups, OptimizerKind, optimizer_kind
from linly.training.ranks.processes import Processes
from tests.support.engines import accumulate, state_of, take_step, tiny_engine
from tests.support.small_state import small_state
from tests.support.type_checks import type_errors


def sgd(groups: Groups, training: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=training.lr, momentum=training.betas[0])


def adamax(groups: Groups, training: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.Adamax(groups, lr=training.lr, betas=training.betas, eps=training.eps)


KINDS = {
    **{name: optimizer_kind(name) for name in get_args(OptimizerName)},
    "sgd": OptimizerKind(sgd, moments=("momentum_buffer",), counts_steps=False),
    "adamax": OptimizerKind(adamax, moments=("exp_avg", "exp_inf"), counts_steps=True),
}
"""The kinds of the package, and two that keep other state."""

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def use(kind: OptimizerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "optimizer_kind", lambda name: kind)
    monkeypatch.setattr(contents, "optimizer_kinds", lambda: tuple(KINDS.values()))


def check_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


@every_kind
def test_the_state_is_what_torch_keeps_of_a_parameter(kind: OptimizerKind) -> None:
    weight = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = kind.make([{"params": [weight], "weight_decay": 0.1}], TrainingSettings())
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state[weight]
    assert set(state) == {*kind.moments, *(["step"] if kind.counts_steps else [])}
    for key in kind.moments:
        assert state[key].shape == weight.shape
        assert state[key].dtype == torch.float32
    assert kind.bytes_per_parameter == 4 * (1 + len(kind.moments))


def stepped(kind: OptimizerKind, parts: list[int], *, decay: float, grad: float) -> torch.Tensor:
    """Weights of 1 after two steps, as parameters of these sizes."""
    weights = [torch.nn.Parameter(torch.ones(size)) for size in parts]
    groups: Groups = [{"params": weights, "weight_decay": decay}]
    optimizer = kind.make(groups, TrainingSettings(lr=1e-3))
    gradients = (grad * torch.arange(1.0, 1 + sum(parts))).split(parts)
    for _ in range(2):
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return torch.cat([weight.detach() for weight in weights])


@every_kind
def test_weight_decay_is_that_of_the_group(kind: OptimizerKind) -> None:
    assert torch.equal(stepped(kind, [6], decay=0.0, grad=0.0), torch.ones(6))
    decayed = stepped(kind, [6], decay=0.5, grad=0.0)
    assert ((decayed > 0.9) & (decayed < 1)).all()


@every_kind
def test_the_update_is_elementwise(kind: OptimizerKind) -> None:
    together = stepped(kind, [6], decay=0.1, grad=1.0)
    apart = stepped(kind, [1, 3, 2], decay=0.1, grad=1.0)
    torch.testing.assert_close(apart, together, rtol=1e-6, atol=0)
    assert not torch.equal(together, torch.ones(6))


@every_kind
def test_a_loaded_checkpoint_steps_to_the_bit(
    kind: OptimizerKind, alone: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(kind, monkeypatch)
    engine = tiny_engine()
    take_step(engine)
    accumulate(engine)
    engine.discard()
    take_step(engine)
    assert engine.optimizer_steps() == 2
    keeper = Checkpoints(tmp_path, alone, CheckpointSettings(every=1))
    folder = keeper.save(engine, 2, small_state(2))
    assert Manifest.read(folder).damage(folder, ["rank-00000.safetensors"]) is None
    assert keeper.newest() == folder
    saved = state_of(engine)
    assert {key.split(".")[0] for key in saved} == set(kind.state_keys)
    take_step(engine)
    again = tiny_engine()
    keeper.load(folder, again, optimizer_steps=2)
    check_equal(state_of(again), saved)
    take_step(again)
    assert again.optimizer_steps() == engine.optimizer_steps() == 3
    check_equal(state_of(again), state_of(engine))


def test_the_state_of_another_optimizer_is_not_loaded(
    alone: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Checkpoints(tmp_path, alone, CheckpointSettings(every=1))
    folder = keeper.save(tiny_engine(), 1, small_state(1))
    use(KINDS["adamax"], monkeypatch)
    with pytest.raises(CheckpointError, match=r"has no exp_inf\..*another training\.optimizer"):
        keeper.load(folder, tiny_engine(), optimizer_steps=1)


def test_a_name_without_a_kind_does_not_type_check(tmp_path: Path) -> None:
    case = """        case "adamw":
            return OptimizerKind(_make_adamw, moments=("exp_avg", "exp_avg_sq"), counts_steps=True)
"""
    changes = {
        "no_kind": (case, '        case "other":\n            raise AssertionError\n'),
        "no_name": (case, case + case.replace('"adamw"', '"other"')),
        "no_moments": ('moments=("exp_avg", "exp_avg_sq"), ', ""),
    }
    errors = type_errors(tmp_path, "training/engine/optimizers.py", changes)
    assert errors.keys() == changes.keys()
    assert "Missing return statement  [return]" in errors["no_kind"]
    assert errors["no_name"] == ["Statement is unreachable  [unreachable]"]
    assert 'Missing positional argument "moments"' in errors["no_moments"][0]
