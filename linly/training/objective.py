"""What DeepSpeed runs: the model and its loss as one module, in the form that fits the model."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import PreTrainedModel

from linly.errors import ConfigError
from linly.training.losses import ChunkedForm, Losses, chunked, fused_losses, liger, target_nll

_FORMS: dict[str, ChunkedForm] = {"chunked": chunked, "liger": liger}
_PROBE_TOKENS = 4


class Objective(torch.nn.Module):
    """A causal language model together with its weighted loss.

    Attributes:
        loss: `plain`, `chunked` or `liger`; see losses.py.
        uses_bounds: The attention wants the documents' bounds (modeling/attention.py).
    """

    def __init__(self, model: PreTrainedModel, *, uses_bounds: bool) -> None:
        """Begin with the plain loss; `choose_loss` says whether another one may be set."""
        super().__init__()
        self.model = model
        self.loss = "plain"
        self.uses_bounds = uses_bounds

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
            ids: int64 [rows, positions].
            labels: int64 [rows, positions], unshifted.
            position_ids: int64 [rows, positions], from 0 at each document.
            bounds: int32 [documents + 1] where the attention wants them.
            weight: Of the sum that is differentiated.
        """
        attention = self.attention_arguments(bounds)
        if self.loss == "plain":
            nll = target_nll(self.model, ids, labels, position_ids, **attention)
            return Losses(nll.sum() * weight, nll.detach().sum(dim=1))
        hidden = self.decoder()(
            input_ids=ids, position_ids=position_ids, use_cache=False, **attention
        ).last_hidden_state
        head = self.head().weight
        return fused_losses(_FORMS[self.loss], hidden, head, labels, weight=weight)

    def decoder(self) -> Any:
        """The model without its output layer."""
        return self.model.get_decoder()  # type: ignore[no-untyped-call]

    def head(self) -> Any:
        """The output layer."""
        return self.model.get_output_embeddings()  # type: ignore[no-untyped-call]

    def attention_arguments(self, bounds: torch.Tensor | None) -> dict[str, Any]:
        """What the model's layers get beside positions."""
        return {"cu_seq_lens_q": bounds} if self.uses_bounds else {}


def choose_loss(asked: str, objective: Objective, device: torch.device) -> tuple[str, str | None]:
    """The form of the loss for `training.loss`.

    Measured on a CPU over 40,076 pieces, the chunked form takes less time than the plain one and
    less than half of the memory; so it is the usual one there too.

    Returns:
        The form, and why it is not the one asked for, if so.

    Raises:
        ConfigError: Liger-kernel was asked for and is not to be had.
    """
    has_liger = device.type == "cuda" and importlib.util.find_spec("liger_kernel") is not None
    if asked == "liger" and not has_liger:
        raise ConfigError(
            "training.loss: found liger, which needs CUDA and `pip install linly[gpu]`; "
            f"this is {device.type}; allowed here: auto, plain, chunked"
        )
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
    """Why logits of this model are more than its output layer's weight times its hidden states.

    Some models cap or scale their logits, some have a bias or an adapter there. A few tokens are
    sent through: what the layer gets must be what the decoder gives, and what it gives, replaced
    by numbers large enough to be capped, must be the logits.
    """
    model = objective.model
    head = objective.head()
    if type(head) is not torch.nn.Linear or head.bias is not None:
        return "the output layer is not a plain matrix"
    decoder = objective.decoder()
    seen: dict[str, torch.Tensor] = {}
    pieces = len(head.weight)
    marks = torch.linspace(-100, 100, pieces, device=head.weight.device, dtype=head.weight.dtype)

    def keep_hidden(_: Any, __: Any, output: Any) -> None:
        seen["hidden"] = output.last_hidden_state

    def replace_logits(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        seen["input"] = inputs[0]
        return marks.expand_as(output)

    hooks = [
        decoder.register_forward_hook(keep_hidden),
        head.register_forward_hook(replace_logits),
    ]
    positions = torch.arange(_PROBE_TOKENS, device=head.weight.device)
    bounds = torch.tensor([0, _PROBE_TOKENS], dtype=torch.int32, device=head.weight.device)
    try:
        logits = model(
            input_ids=(positions % pieces).unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            **objective.attention_arguments(bounds),
        ).logits
    finally:
        for hook in hooks:
            hook.remove()
    if not torch.equal(logits, marks.expand_as(logits)):
        return "the model changes its logits after the output layer"
    if "hidden" not in seen or not torch.equal(seen["hidden"], seen["input"]):
        return "the model changes its hidden states before the output layer"
    return None
