"""Negative log-likelihood of rows, summed per row, so that any weighting can be built on it.

The output layer takes most of the memory: 4 rows of 2,048 positions over 40,076 pieces are 1.3 GB
of fp32 logits, and as much again for their gradient. The chunked forms hold only a part of the
logits at a time, and compute the gradient in the forward pass, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, pad

from linly.data.types import IGNORE_LABEL

CHUNK_TOKENS = 1024
"""Positions per chunk of logits: 164 MB in fp32 over 40,076 pieces."""


class Losses(NamedTuple):
    """Losses of a micro-batch.

    Attributes:
        weighted: Sum over all targets times a weight, to differentiate; float32 [].
        rows: Summed negative log-likelihood of each row, without gradient; float32 [rows].
    """

    weighted: torch.Tensor
    rows: torch.Tensor


class LossParts(NamedTuple):
    """Result of a chunked form.

    Attributes:
        nll: Negative log-likelihood of each position, 0 without a target; float32 [n].
        hidden: Gradient of the weighted sum, in the dtype and shape of the hidden states; None if
            not needed.
        head: Gradient for the output weight, float32 [pieces, hidden size]; None if not needed.
    """

    nll: torch.Tensor
    hidden: torch.Tensor | None
    head: torch.Tensor | None


ChunkedForm = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, float, tuple[bool, bool]], LossParts
]
"""(hidden states [n, hidden size], head, targets [n], weight, (hidden's gradient?, head's?))."""


def target_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each target, in nats, from the full logits.

    Args:
        logits: Logits [rows, positions, pieces].
        labels: Unshifted labels, int64 [rows, positions]: the token at the same position, or
            IGNORE_LABEL if it carries no loss.

    Returns:
        float32 [rows, positions - 1]; entry t is that of the label at t + 1, 0 without a label.
    """
    targets = labels[:, 1:]
    losses = cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORE_LABEL,
        reduction="none",
    )
    return losses.view(targets.shape)


def fused_losses(
    form: ChunkedForm,
    hidden: torch.Tensor,
    head: torch.Tensor,
    labels: torch.Tensor,
    *,
    weight: float,
) -> Losses:
    """Losses computed without full logits.

    Args:
        form: Function `chunked` or `liger`.
        hidden: Input of the output layer, [rows, positions, hidden size].
        head: Weight of the output layer, [pieces, hidden size].
        labels: Unshifted labels, int64 [rows, positions].
        weight: Factor of the sum that is differentiated.
    """
    # The last position of a row is kept without a target: dropping it would copy `hidden`.
    targets = pad(labels[:, 1:], (0, 1), value=IGNORE_LABEL)
    flat = (hidden.flatten(0, 1), head, targets.flatten())
    weighted, nll = _FusedLoss.apply(form, *flat, weight)  # type: ignore[no-untyped-call]
    return Losses(weighted, nll.view(targets.shape).sum(dim=1))


def chunked(
    hidden: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    weight: float,
    needs: tuple[bool, bool],
) -> LossParts:
    """The chunked form in plain torch, for any device.

    Logits are computed in the model's dtype, as by a linear layer, then cast to fp32.
    """
    nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    hidden_gradient = torch.empty_like(hidden) if needs[0] else None
    head_gradient = torch.zeros_like(head, dtype=torch.float32) if needs[1] else None
    for first in range(0, len(hidden), CHUNK_TOKENS):
        part = slice(first, first + CHUNK_TOKENS)
        has_target = targets[part] != IGNORE_LABEL
        index = targets[part].where(has_target, 0).unsqueeze(1)
        logits = (hidden[part] @ head.t()).float()
        log_normalizer = logits.logsumexp(dim=1, keepdim=True)
        losses = (log_normalizer - logits.gather(1, index)).squeeze(1)
        nll[part] = losses.where(has_target, 0.0)
        if not any(needs):
            continue
        gradient = logits.sub_(log_normalizer).exp_()  # the probabilities, in place
        gradient.scatter_add_(1, index, torch.full_like(losses, -1.0).unsqueeze(1))
        gradient.mul_((has_target * weight).unsqueeze(1))
        gradient = gradient.to(hidden.dtype)
        if hidden_gradient is not None:
            torch.mm(gradient, head, out=hidden_gradient[part])
        if head_gradient is not None:
            _add_product(head_gradient, gradient.t(), hidden[part])
    return LossParts(nll, hidden_gradient, head_gradient)


def liger(
    hidden: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    weight: float,
    needs: tuple[bool, bool],
) -> LossParts:
    """The chunked form in Triton, by Liger-kernel."""
    from liger_kernel.ops.fused_linear_cross_entropy import fused_linear_cross_entropy_forward

    made = fused_linear_cross_entropy_forward(
        hidden.detach().requires_grad_(any(needs)),
        head.detach().requires_grad_(needs[1]),
        targets,
        ignore_index=IGNORE_LABEL,
        reduction="none",
        accum_dtype=torch.float32,
    )
    nll, (hidden_gradient, head_gradient) = made[0], made[-3:-1]
    return LossParts(
        nll,
        hidden_gradient.mul_(weight) if needs[0] else None,
        head_gradient.float().mul_(weight) if needs[1] else None,
    )


class _FusedLoss(torch.autograd.Function):
    """Autograd function whose backward returns the gradients computed in forward."""

    @staticmethod
    def forward(
        ctx: Any,
        form: ChunkedForm,
        hidden: torch.Tensor,
        head: torch.Tensor,
        targets: torch.Tensor,
        weight: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        parts = form(hidden, head, targets, weight, ctx.needs_input_grad[1:3])
        ctx.save_for_backward(parts.hidden, parts.head)
        ctx.head_dtype = head.dtype
        ctx.mark_non_differentiable(parts.nll)
        return parts.nll.sum() * weight, parts.nll

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, head = ctx.saved_tensors
        return (
            None,
            None if hidden is None else hidden * upstream[0].to(hidden.dtype),
            None if head is None else (head * upstream[0]).to(ctx.head_dtype),
            None,
            None,
        )


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add left @ right to an fp32 total, accumulating in fp32 if the device supports it."""
    if total.is_cuda and left.dtype != total.dtype:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    elif left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
