"""Activation checkpointing: activations that a layer keeps for its backward, or recomputes.

    none        everything is kept                                   fastest, most memory
    selective   attention and the narrow matrix products are kept    the wide ones, norms and
                                                                     activations are recomputed
    full        only a layer's input is kept                         a third more arithmetic

The two wide products of a feed-forward part are most of a layer's activations, and less than half
of its forward arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_varlen_attn",
)
"""torch's operators by name, since not every version has all of them."""


def checkpoint_activations(model: PreTrainedModel, mode: str) -> None:
    """Set the activation checkpointing of the model's layers: `full`, `selective` or `none`."""
    if mode == "none":
        return
    arguments: dict[str, Any] = {"use_reentrant": False}
    if mode == "selective":
        policy = partial(_policy, model.config.hidden_size)
        arguments["context_fn"] = partial(create_selective_checkpoint_contexts, policy)
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(arguments)
    else:  # transformers 5.20 and before
        model.gradient_checkpointing_enable(arguments)  # type: ignore[no-untyped-call]


def compile_layers(
    model: PreTrainedModel, *, backend: str | Callable[..., Any] = "inductor"
) -> int:
    """Compile each decoder layer, all to the same code, at its first call.

    Args:
        model: Model whose layers are compiled; embedding and output layer are not.
        backend: Backend of torch's compiler.

    Returns:
        Number of layers.
    """
    layers = [
        module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)
    ]
    for layer in layers:
        layer.compile(backend=backend)
    return len(layers)


def _policy(
    hidden_size: int, context: Any, operator: Any, *arguments: Any, **_: Any
) -> CheckpointPolicy:
    """Whether an operator's output is kept.

    The answer depends only on the operator and its shapes, so forward and recomputation agree.
    """
    keeps = getattr(operator, "_opname", "") in _ATTENTION
    if operator is torch.ops.aten.mm.default:
        keeps = _is_narrow(hidden_size, *arguments[:2])
    elif operator is torch.ops.aten.addmm.default:
        keeps = _is_narrow(hidden_size, *arguments[1:3])
    return CheckpointPolicy.MUST_SAVE if keeps else CheckpointPolicy.PREFER_RECOMPUTE


def _is_narrow(hidden_size: int, left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether neither side of a matrix product is wider than the hidden size."""
    return left.shape[1] <= hidden_size and right.shape[1] <= hidden_size
