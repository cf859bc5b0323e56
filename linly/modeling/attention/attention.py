"""Attention limited to documents, by the fastest backend that the device has.

    backend   on          how documents are kept apart
    sdpa      everywhere  a mask over all pairs of positions, built by transformers
    eager     everywhere  the same mask, with all scores in memory
    flex      CUDA        a block mask, built by transformers; its kernel is compiled at first use
    varlen    CUDA        torch's flash attention over concatenated documents, without a mask

sdpa, eager and flex find the documents in `position_ids` that restart at 0. varlen gets the
documents' bounds instead: transformers' own flash attention finds them in `position_ids` only for
a single row, and attends across documents in a larger batch. Whether a model respects either is
tested on the model itself (separation.py).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from linly.errors import ConfigError

VARLEN = "linly_varlen"
IMPLEMENTATIONS = {"sdpa": "sdpa", "flex": "flex_attention", "varlen": VARLEN, "eager": "eager"}
"""Backend -> its name in transformers."""
_FLASH_CAPABILITY = (8, 0)
"""Compute capability (Ampere) from which torch has flash attention."""


def _find_kernel() -> Callable[..., torch.Tensor] | None:
    """Torch's attention over concatenated documents: added in 2.10, final in 2.11."""
    try:
        module = importlib.import_module("torch.nn.attention.varlen")
    except ImportError:
        return None
    kernel: Callable[..., torch.Tensor] = module.varlen_attn
    return kernel if "scale" in inspect.signature(kernel).parameters else None


varlen_kernel = _find_kernel()


def usual_backend(model: PreTrainedModel) -> str:
    """Backend that transformers chose for a model: sdpa for nearly all."""
    default = model.config._attn_implementation
    return next((ours for ours, theirs in IMPLEMENTATIONS.items() if theirs == default), "sdpa")


def backends_to_try(asked: str, model: PreTrainedModel, device: torch.device) -> tuple[str, ...]:
    """Candidate backends for `training.attention_backend`, the fastest first.

    On a CPU the only candidate is transformers' choice for the model, which is the fastest there
    and exact. On CUDA it is varlen where torch has it, else flex. transformers' choice comes
    second, for models whose attention the faster backend does not compute (see separation.py).

    Raises:
        ConfigError: If the requested backend is not available on this device.
    """
    usual = usual_backend(model)
    if asked == "auto":
        if device.type != "cuda" or not getattr(model, "_supports_attention_backend", False):
            return (usual,)
        return ("flex" if _varlen_obstacle(device) else "varlen", usual)
    obstacle = {"flex": _flex_obstacle, "varlen": _varlen_obstacle}.get(asked)
    why = obstacle(device) if obstacle else None
    if why:
        raise ConfigError(
            f"training.attention_backend: found {asked}, but {why}; allowed here: auto, sdpa, eager"
        )
    return (asked,)


def set_attention(model: PreTrainedModel, backend: str) -> None:
    """Set the attention backend of a model.

    Raises:
        ConfigError: If this type of model does not support it.
    """
    try:
        model.set_attn_implementation(IMPLEMENTATIONS[backend])
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"training.attention_backend: this model does not support {backend}: {error}; "
            "use auto, sdpa or eager"
        ) from error


def document_bounds(position_ids: torch.Tensor) -> torch.Tensor:
    """Start of each document in the concatenated rows, and the end of the last one.

    Args:
        position_ids: int64 [rows, positions], on the CPU (on a GPU this would synchronize).

    Returns:
        int32 [documents + 1].
    """
    starts = torch.diff(position_ids, prepend=torch.full_like(position_ids[:, :1], -2)) != 1
    first = starts.flatten().nonzero().flatten()
    return torch.cat([first, first.new_tensor([position_ids.numel()])]).to(torch.int32)


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over concatenated documents, with the signature of transformers' backends.

    Args:
        module: The attention layer.
        query: [rows, heads, positions, head size].
        key: [rows, key-value heads, positions, head size].
        value: [rows, key-value heads, positions, value size], at most the head size.
        attention_mask: None; the bounds replace it.
        cu_seq_lens_q: int32 [documents + 1], `document_bounds`.
        scaling: Factor of the scores.
        others: Further arguments that transformers passes to every backend.

    Returns:
        [rows, positions, heads, value size], and None for the attention weights.

    Raises:
        ConfigError: If the layer needs more than causal attention, or does not pass bounds.
    """
    why = _beyond_varlen(query, attention_mask, cu_seq_lens_q, others)
    if why:
        raise ConfigError(
            f"varlen does not support the attention of this model: {why}; set "
            "training.attention_backend to auto, sdpa or eager"
        )
    assert varlen_kernel is not None
    rows, heads, positions, size = query.shape
    value_size = value.shape[-1]
    value = torch.nn.functional.pad(value, (0, size - value_size))  # the kernel has a single size
    flat = [
        tensor.transpose(1, 2).reshape(rows * positions, tensor.shape[1], size)
        for tensor in (query, key, value)
    ]
    options: dict[str, Any] = {"window_size": (-1, 0), "scale": scaling}  # causal
    if "enable_gqa" in inspect.signature(varlen_kernel).parameters:
        options["enable_gqa"] = True
    # No document is longer than a row, and this bound is the same at every step.
    output = varlen_kernel(*flat, cu_seq_lens_q, cu_seq_lens_q, positions, positions, **options)
    return output.view(rows, positions, heads, size)[..., :value_size], None


_NOT_OF_THE_SCORES = frozenset(
    {
        *("position_ids", "cache_position", "use_cache", "is_causal", "cu_seq_lens_k"),
        *("output_attentions", "output_hidden_states", "output_router_logits", "return_dict"),
    }
)
"""Arguments of layers that do not change what causal attention computes."""


def _beyond_varlen(
    query: torch.Tensor,
    attention_mask: torch.Tensor | None,
    bounds: torch.Tensor | None,
    others: dict[str, Any],
) -> str | None:
    """Reason why the kernel does not compute a layer's attention; None if it does."""
    if bounds is None:
        return "its layers do not pass the document bounds to the backend"
    if attention_mask is not None:
        return "its layers use a mask of their own"
    window = others.get("sliding_window")
    if window is not None and window < query.shape[2]:
        return f"its window of {window} positions is shorter than a row"
    unknown = sorted(
        name
        for name, given in others.items()
        if name not in _NOT_OF_THE_SCORES | {"sliding_window"}
        and (given is not None and given is not False and not _is_zero(given))
    )
    return f"its attention takes {', '.join(unknown)}" if unknown else None


def _is_zero(given: Any) -> bool:
    """Whether an option is switched off, such as a dropout of 0."""
    return isinstance(given, int | float) and given == 0


def _varlen_obstacle(device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"varlen needs CUDA and this is {device.type}"
    if varlen_kernel is None:
        return f"varlen needs torch 2.11 or newer and this is {torch.__version__}"
    if torch.cuda.get_device_capability(device) < _FLASH_CAPABILITY:
        return f"varlen needs an Ampere GPU or newer and this is {torch.cuda.get_device_name()}"
    return None


def _flex_obstacle(device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"flex has a backward pass on CUDA only and this is {device.type}"
    return None


AttentionInterface.register(VARLEN, varlen_attention)
