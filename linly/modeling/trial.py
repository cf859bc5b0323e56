"""A trial of a model before its first step: one answer for `check` and for training.

The model runs as it will train, in its dtype and with LoRA's matrices, so a fault of its code is
found before a run writes anything.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from transformers import PreTrainedModel

from linly.errors import ConfigError
from linly.modeling.attention.attention import document_bounds
from linly.modeling.attention.separation import (
    Attention,
    RowLayout,
    choose_attention,
    forward_rows,
)

_TOKENS = 64


def try_model(
    asked: str, model: PreTrainedModel, device: torch.device, layout: RowLayout
) -> Attention:
    """Choose the attention of a model, and check that each target of LoRA trains.

    Args:
        asked: Value of `training.attention_backend`.
        model: Model on its device, with LoRA's matrices if it trains with them.
        device: Device of the model.
        layout: Content of a training row.

    Raises:
        ConfigError: As `choose_attention`, or if a layer's LoRA matrices would get no gradient.
    """
    chosen = choose_attention(asked, model, device, layout)
    _check_targets_train(model, chosen, min(_TOKENS, layout.length))
    return chosen


def _check_targets_train(model: PreTrainedModel, attention: Attention, length: int) -> None:
    """Refuse LoRA on layers that no gradient reaches.

    Some models read a layer's weight without calling the layer, others take only a choice of
    positions from it. A target is refused if none of its layers has a gradient: an expert has one
    only from the tokens that are routed to it, and other layers of its name may train.
    """
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_B")}
    if not layers:
        return
    matrices = [module.get_parameter("lora_B.default.weight") for module in layers.values()]
    gradients = _gradients(model, attention, length, matrices)
    reached: dict[str, list[bool]] = defaultdict(list)
    for name, gradient in zip(layers, gradients, strict=True):
        reached[name.rpartition(".")[2]].append(gradient is not None)
    without = sorted(target for target, each in reached.items() if not any(each))
    if without:
        raise ConfigError(
            f"training.trainable.lora.targets: {', '.join(without)}: LoRA's matrices get no "
            f"gradient there, since a {model.config.model_type} model does not use the output of "
            f"the layer in its loss; leave it out"
        )


def _gradients(
    model: PreTrainedModel, attention: Attention, length: int, matrices: list[torch.nn.Parameter]
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of a row's loss; None for a matrix that the loss does not depend on."""
    positions = torch.arange(length, device=model.device)[None]
    ids, bounds = positions % model.config.vocab_size, document_bounds(positions)
    was_training = model.training
    model.train()
    try:
        logits = forward_rows(model, attention.way, ids, positions, bounds).logits
        loss = logits.float().logsumexp(-1).mean()
        return torch.autograd.grad(loss, matrices, allow_unused=True)
    finally:
        model.train(was_training)
