"""How much of the device's arithmetic a step uses (MFU)."""

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
"""Dense BF16 floating-point operations a second, by the makers' data sheets; first match wins."""

_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts")
"""Keys by which configurations say to how many experts a token is sent."""


def flops_per_token(model: PreTrainedModel, *, sequence_length: int) -> float:
    """Operations of forward and backward a token: 6 a weight, and causal attention.

    A weight takes a multiplication and an addition in forward and twice as many in backward; a
    frozen one has no gradient of its own and takes 4. An embedding is a look-up and counts only
    when it is also the output layer; of a mixture's experts those count that a token is sent to.
    Attention's two products of a row with all before it are 6 * layers * hidden size * sequence
    length: half of the usual 12, since the other half is masked. That documents do not see each
    other makes it less still, and is not taken off. What activation checkpointing computes twice
    counts once.
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
    """Weights of which a token uses a part only: embeddings, and the experts of a mixture."""
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
    """Whether a module is a mixture's routed experts, which transformers keeps in one tensor."""
    name = type(module).__name__
    return "Experts" in name and "Shared" not in name


def _experts_per_token(config: PretrainedConfig) -> int | None:
    found = (getattr(config, key, None) for key in _EXPERTS_PER_TOKEN)
    return next((number for number in found if isinstance(number, int)), None)


def peak_flops(device: torch.device) -> float | None:
    """Of one device, by its data sheet; None where it is not known (a CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAK_BF16.items() if key in name), None)
