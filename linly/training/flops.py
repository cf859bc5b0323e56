"""How much of the device's arithmetic a step uses (MFU)."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

_PEAK_BF16 = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800 PCIe": 756e12,
    "H800": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A800": 312e12,
}
"""Dense BF16 floating-point operations a second, by the makers' data sheets; first match wins."""


def flops_per_token(model: PreTrainedModel, *, sequence_length: int) -> float:
    """Operations of forward and backward a token: 6 a weight, and causal attention.

    A weight takes a multiplication and an addition in forward and twice as many in backward; a
    frozen one has no gradient of its own and takes 4. The input embedding is a look-up and counts
    only when it is also the output layer. Attention's two products of a row with all before it are
    6 * layers * hidden size * sequence length: half of the usual 12, since the other half is
    masked. That documents do not see each other makes it less still, and is not taken off. What
    activation checkpointing computes twice counts once.
    """
    config = model.config
    weights = {p: 6.0 if p.requires_grad else 4.0 for p in model.parameters()}
    if not config.tie_word_embeddings:
        weights |= dict.fromkeys(model.get_input_embeddings().parameters(), 0.0)
    attention: float = 6 * config.num_hidden_layers * config.hidden_size * sequence_length
    return sum(each * weight.numel() for weight, each in weights.items()) + attention


def peak_flops(device: torch.device) -> float | None:
    """Of one device, by its data sheet; None where it is not known (a CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAK_BF16.items() if key in name), None)
