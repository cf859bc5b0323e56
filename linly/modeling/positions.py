"""Position limits that a model's configuration declares."""

from __future__ import annotations

from typing import Any

FIXED_KEY = "max_seq_len"
"""MPT's key: it sizes the attention bias, without a table of positions."""

_KEYS = ("max_position_embeddings", FIXED_KEY)


def position_limits(config: Any) -> dict[str, int]:
    """Return the limits by key; empty for models without one, such as state spaces and ALiBi.

    Args:
        config: Configuration of a model; keys under older names, such as GPT-2's `n_positions`,
            are read through its attribute map.
    """
    found = {key: getattr(config, key, None) for key in _KEYS}
    return {key: value for key, value in found.items() if isinstance(value, int) and value > 0}


def num_positions(config: Any) -> int | None:
    """Return the smallest limit, None without one."""
    return min(position_limits(config).values(), default=None)
