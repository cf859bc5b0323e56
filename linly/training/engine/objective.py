"""Module that DeepSpeed runs: the model with its loss, in a form that suits the model."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from linly.errors import ConfigError
from linly.modeling.attention.attention import document_bounds
from linly.modeling.attention.separation import Way, forward_rows
from linly.training.engine.losses import (
    ChunkedForm,
    Losses,
    chunked,
    fused_losses,
    liger,
    target_nll,
)

_FORMS: dict[str, ChunkedForm] = {"chunked": chunked, "liger": liger}
_PROBE_TOKENS = 8


class Objective(torch.nn.Module):
    """A causal language model together with its weighted loss.

    Attributes:
        loss: Form of the loss, `plain`, `chunked` or `liger`; see losses.py.
        way: Method that separates the documents of a row; see modeling/attention/separation.py.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Start with the plain loss; `choose_loss` decides whether another one may be set."""
        super().__init__()
        self.model = model
        self.loss = "plain"
        self.way: Way = "positions"

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """Parameters in BF16 only: DeepSpeed casts all parameters listed here, rounding others."""
        return (p for p in super().parameters(recurse) if p.dtype == torch.bfloat16)

    def forward(
        self,
        ids: torch.Tensor,
        labels: torch.Tensor,
        position_ids: torch.Tensor,
        bounds: torch.Tensor | None,
        weight: float,
    ) -> Losses:
        """Losses of a micro-batch.

        Args:
            ids: Token ids, int64 [rows, positions].
            labels: Unshifted labels, int64 [rows, positions].
            position_ids: Positions from 0 at each document, int64 [rows, positions].
            bounds: Document bounds, int32 [documents + 1], if `way` needs them.
            weight: Factor of the sum that is differentiated.
        """
        rows = (ids, position_ids, bounds)
        if self.loss == "plain":
            nll = target_nll(forward_rows(self.model, self.way, *rows).logits, labels)
            return Losses(nll.sum() * weight, nll.detach().sum(dim=1))
        hidden = forward_rows(self.decoder(), self.way, *rows).last_hidden_state
        head = self.head().weight
        return fused_losses(_FORMS[self.loss], hidden, head, labels, weight=weight)

    def decoder(self) -> Any:
        """The model without its output layer (which Llama 4 calls part of its decoder)."""
        decoder = self.model.get_decoder()  # type: ignore[no-untyped-call]
        if decoder is not self.model:
            return decoder
        return next(part for part in decoder.children() if isinstance(part, PreTrainedModel))

    def head(self) -> Any:
        """The output layer."""
        return self.model.get_output_embeddings()  # type: ignore[no-untyped-call]


def check_loss(asked: str, *, has_gpu: bool) -> bool:
    """Check that `training.loss` is available.

    Returns:
        Whether Liger-kernel is.

    Raises:
        ConfigError: If Liger-kernel is requested but not available.
    """
    has_liger = has_gpu and importlib.util.find_spec("liger_kernel") is not None
    if asked == "liger" and not has_liger:
        raise ConfigError(
            "training.loss: found liger, which needs CUDA and `pip install linly[gpu]`; found "
            f"{'CUDA without it' if has_gpu else 'no GPU'}; allowed here: auto, plain, chunked"
        )
    return has_liger


def choose_loss(asked: str, objective: Objective, device: torch.device) -> tuple[str, str | None]:
    """Choose the form of the loss for `training.loss`.

    On a CPU with 40,076 pieces, the chunked form is faster than the plain one and takes less than
    half of the memory, so it is the default there too.

    Returns:
        The form, and the reason if it is not the requested one.

    Raises:
        ConfigError: If Liger-kernel is requested but not available.
    """
    has_liger = check_loss(asked, has_gpu=device.type == "cuda")
    if asked == "plain":
        return asked, None
    obstacle = _obstacle(objective)
    if obstacle is not None:
        return "plain", obstacle
    if asked == "auto":
        return "liger" if has_liger else "chunked", None
    return asked, None


@torch.no_grad()
def _obstacle(objective: Objective) -> str | None:
    """Why logits are not just the output weight times the hidden states; None if they are.

    Some models cap or scale their logits, or have a bias or an adapter in the output layer. Two
    short documents are used as a probe: the layer's input must equal the decoder's own output, and
    the layer's output, replaced by numbers large enough to be capped, must equal the logits.
    """
    model, head = objective.model, objective.head()
    if type(head) is not torch.nn.Linear or getattr(head, "bias", None) is not None:
        return "the output layer is not a plain matrix"
    pieces = len(head.weight)
    marks = torch.linspace(-100, 100, pieces, device=head.weight.device, dtype=head.weight.dtype)
    seen: list[torch.Tensor] = []

    def replace_logits(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        seen.append(inputs[0])
        return marks.expand_as(output)

    positions = torch.arange(_PROBE_TOKENS).remainder(_PROBE_TOKENS // 2).unsqueeze(0)
    bounds = document_bounds(positions).to(head.weight.device)
    positions = positions.to(head.weight.device)
    ids = torch.arange(_PROBE_TOKENS, device=head.weight.device).unsqueeze(0) % pieces
    was_training = model.training
    model.train(False)  # no dropout, so that both passes are equal
    hook = head.register_forward_hook(replace_logits)
    try:
        logits = forward_rows(model, objective.way, ids, positions, bounds).logits
        decoded = forward_rows(objective.decoder(), objective.way, ids, positions, bounds)
    finally:
        hook.remove()
        model.train(was_training)
    if not torch.equal(logits, marks.expand_as(logits)):
        return "the model changes its logits after the output layer"
    if not seen or decoded.last_hidden_state.dtype != seen[0].dtype:
        return "the output layer computes in another dtype than the decoder"
    if not torch.equal(decoded.last_hidden_state, seen[0]):
        return "the model changes its hidden states before the output layer"
    return None
