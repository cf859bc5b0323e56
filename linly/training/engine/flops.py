"""Floating-point operations per token, and peak of the device, for the MFU."""

from __future__ import annotations

import torch
from transformers import PretrainedConfig, PreTrainedModel

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
"""Dense BF16 FLOP/s from the vendors' data sheets; the first match wins."""

_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts")
"""Configuration keys for the number of experts per token."""


def flops_per_token(model: PreTrainedModel, *, sequence_length: int) -> float:
    """Floating-point operations per token of forward and backward: 6 per weight, plus attention.

    A weight takes a multiplication and an addition in forward and twice as many in backward. A
    frozen weight has no gradient and takes 4 in total. An embedding is a look-up and counts only if
    it is also the output layer. Of a mixture of experts, only the experts of a token count. Causal
    attention takes 6 * layers * hidden size * sequence length: half of the usual 12, since the
    other half is masked. Masking between documents reduces this further and is not subtracted.
    Recomputation by activation checkpointing is not counted.
    """
    config = model.config
    part = _used_part(model)
    weights = sum(
        (6.0 if parameter.requires_grad else 4.0) * parameter.numel() * part.get(parameter, 1.0)
        for parameter in model.parameters()
    )
    if getattr(config, "num_attention_heads", None) is None:
        return weights
    attention: float = 6 * config.num_hidden_layers * config.hidden_size * sequence_length
    return weights + attention


def _used_part(model: PreTrainedModel) -> dict[torch.nn.Parameter, float]:
    """Used fraction of weights that a token uses only in part: embeddings and experts."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    used = {} if head is None else dict.fromkeys(head.parameters(), 1.0)
    part: dict[torch.nn.Parameter, float] = {}
    active = _experts_per_token(model.config)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            part |= dict.fromkeys(module.parameters(), 0.0)
        elif active is not None and _has_experts(module):
            own = (p for p in module.parameters(recurse=False) if p.dim() > 1)
            part |= {p: min(1.0, active / len(p)) for p in own}
    return part | used


def _has_experts(module: torch.nn.Module) -> bool:
    """Whether a module holds routed experts, which transformers keeps in one tensor."""
    name = type(module).__name__
    return "Experts" in name and "Shared" not in name


def _experts_per_token(config: PretrainedConfig) -> int | None:
    found = (getattr(config, key, None) for key in _EXPERTS_PER_TOKEN)
    return next((number for number in found if isinstance(number, int)), None)


def peak_flops(device: torch.device) -> float | None:
    """Peak BF16 FLOP/s of one device from its data sheet; None if unknown (such as a CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAK_BF16.items() if key in name), None)
