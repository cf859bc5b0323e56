"""A plain stand-in on the CPU for torch's attention over documents laid end to end."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention


def loop_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What torch's kernel for GPUs computes by its documentation, one document after the other."""
    assert window_size == (-1, 0), "not causal"
    assert torch.equal(cu_seq_q, cu_seq_k)
    assert max_q == max_k >= int(cu_seq_q.diff().max())
    assert query.shape[1] == key.shape[1] or enable_gqa
    assert query.shape[2] == key.shape[2] == value.shape[2], "one head size"
    outputs = [
        scaled_dot_product_attention(
            *(tensor[start:end].transpose(0, 1).unsqueeze(0) for tensor in (query, key, value)),
            is_causal=True,
            scale=scale,
            enable_gqa=enable_gqa,
        )[0].transpose(0, 1)
        for start, end in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True)
    ]
    return torch.cat(outputs)
