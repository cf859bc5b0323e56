"""Attention masks limited to the documents of a row, in models that do not read `position_ids`.

transformers builds the masks of nearly every model through a few registered functions, and limits
them to documents if a model passes its `position_ids` to them. Some models do not: Falcon, BLOOM,
MPT, OPT, GPT-OSS. The functions registered here add the limit for any model: to causal, sliding and
chunked masks, and before a model adds a bias such as ALiBi.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function

MaskFunction = Callable[[Any, Any, Any, Any], Any]
"""(row, head, query position, key position) -> whether the query sees the key."""

_positions: ContextVar[torch.Tensor | None] = ContextVar("_positions", default=None)
"""`position_ids` of the current forward pass; no argument carries them to a mask function."""
_seen: ContextVar[list[MaskFunction] | None] = ContextVar("_seen", default=None)


@contextmanager
def masks_limited_to_documents(position_ids: torch.Tensor) -> Iterator[None]:
    """Limit the masks that models build in this context to documents.

    Args:
        position_ids: int64 [rows, positions], consecutive within a document.
    """
    token = _positions.set(position_ids)
    try:
        yield
    finally:
        _positions.reset(token)


@contextmanager
def recorded_masks() -> Iterator[list[MaskFunction]]:
    """Collect the mask functions of the models that run in this context."""
    seen: list[MaskFunction] = []
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


def document_index(position_ids: torch.Tensor) -> torch.Tensor:
    """Number of each position's document within its row: int64, the shape of `position_ids`."""
    before = position_ids[:, :1] - 1
    return (torch.diff(position_ids, prepend=before) != 1).cumsum(-1)


def sees_whole_row(mask: MaskFunction, length: int, device: torch.device) -> bool:
    """Whether the last position of a row sees every position before it: no window, no chunks."""
    zero, keys = torch.tensor(0, device=device), torch.arange(length, device=device)
    return bool(mask(zero, zero, keys[-1], keys).expand(length).all())


def _with_documents(build: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a mask builder of transformers so that it respects the contexts above."""

    def build_limited(
        *args: Any,
        mask_function: MaskFunction = causal_mask_function,
        attention_mask: Any = None,
        **others: Any,
    ) -> Any:
        seen, positions = _seen.get(), _positions.get()
        if seen is not None:
            seen.append(mask_function)
        if positions is None:
            return build(
                *args, mask_function=mask_function, attention_mask=attention_mask, **others
            )
        documents = document_index(positions)

        def limited(row: Any, head: Any, query: Any, key: Any) -> Any:
            same = documents[row, query] == documents[row, key]
            return same & mask_function(row, head, positions[row, query], positions[row, key])

        others["allow_is_causal_skip"] = False
        return build(*args, mask_function=limited, attention_mask=None, **others)

    return build_limited


for _name in ("sdpa", "eager", "flex_attention"):
    AttentionMaskInterface.register(_name, _with_documents(ALL_MASK_ATTENTION_FUNCTIONS[_name]))
