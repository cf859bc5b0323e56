"""Activation checkpointing and compilation change what is computed when, and no number."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from linly.config.sections.training_section import TrainingSettings
from linly.modeling.recompute import checkpoint_activations, compile_layers
from tests.support.models import tiny_model

LAYERS = 3


class Operators(TorchDispatchMode):
    """Counts the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.counts[operator._opname] += 1
        return operator(*args, **(kwargs or {}))


def llama() -> PreTrainedModel:
    return tiny_model("llama", dtype=torch.bfloat16, num_hidden_layers=LAYERS)


def gradients(model: PreTrainedModel, seen: Operators | None = None) -> dict[str, torch.Tensor]:
    """Of one step; what runs in its backward is counted in `seen`."""
    model.train()
    ids = torch.arange(48).view(2, 24) % 50
    loss = model(ids, use_cache=False).logits.float().logsumexp(-1).sum()
    with seen or nullcontext():
        loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def counted(model: PreTrainedModel) -> tuple[dict[str, torch.Tensor], Counter[str]]:
    seen = Operators()
    return gradients(model, seen), seen.counts


@pytest.fixture(scope="module")
def plain() -> tuple[dict[str, torch.Tensor], Counter[str]]:
    return counted(llama())


@pytest.mark.parametrize(("mode", "products", "attentions"), [("full", 6, 1), ("selective", 2, 0)])
def test_what_is_computed_again_is_what_the_mode_says_and_gradients_are_the_same_bits(
    plain: tuple[dict[str, torch.Tensor], Counter[str]], mode: str, products: int, attentions: int
) -> None:
    """A layer's last product is never made again: its output is in no gradient."""
    model = llama()
    checkpoint_activations(model, mode)
    found, counts = counted(model)
    assert counts["mm"] - plain[1]["mm"] == products * LAYERS
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    assert counts[attention] - plain[1][attention] == attentions * LAYERS
    for name, gradient in found.items():
        assert torch.equal(gradient, plain[0][name]), name


def test_none_keeps_everything(plain: tuple[dict[str, torch.Tensor], Counter[str]]) -> None:
    model = llama()
    checkpoint_activations(model, "none")
    assert counted(model)[1] == plain[1]


@pytest.mark.parametrize("mode", ["none", "full", "selective"])
def test_compiled_layers_give_the_same_gradients(
    plain: tuple[dict[str, torch.Tensor], Counter[str]], mode: str
) -> None:
    """By the compiler's own tracing, without code for this machine: that takes minutes."""
    model = llama()
    checkpoint_activations(model, mode)
    assert compile_layers(model, backend="aot_eager") == LAYERS
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, plain[0][name], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("mode", ["none", "full", "selective"])
def test_layers_share_one_compiled_graph(mode: str) -> None:
    """Else a deep model would compile for an hour, and beyond eight graphs not at all."""
    torch._dynamo.reset()
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    model = llama()
    checkpoint_activations(model, mode)
    compile_layers(model, backend=keep)
    gradients(model)
    gradients(model)
    assert len(graphs) == 1


@pytest.mark.parametrize(("short", "name"), [(True, "full"), (False, "none")])
def test_true_and_false_are_full_and_none(short: bool, name: str) -> None:
    settings = TrainingSettings.model_validate({"activation_checkpointing": short})
    assert settings.activation_checkpointing == name
