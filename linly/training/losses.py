"""Negative log-likelihood of rows, summed per row, so that any weighting can be built on it."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from linly.data.types import IGNORE_LABEL


def target_nll(
    model: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor, position_ids: torch.Tensor
) -> torch.Tensor:
    """Negative log-likelihood of each target, in nats.

    Attention stays inside a document because its positions start again at 0: transformers reads
    packed documents off `position_ids` when there is neither a mask nor a cache.

    Args:
        model: A causal language model.
        ids: int64 [rows, positions].
        labels: int64 [rows, positions], unshifted: the token at the same position, or
            IGNORE_LABEL where there is no loss.
        position_ids: int64 [rows, positions], from 0 at each document.

    Returns:
        float32 [rows, positions - 1]; entry t is that of the label at t + 1, 0 without a label.
    """
    logits = model(input_ids=ids, position_ids=position_ids, use_cache=False).logits[:, :-1]
    targets = labels[:, 1:]
    losses = cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORE_LABEL,
        reduction="none",
    )
    return losses.view(targets.shape)
