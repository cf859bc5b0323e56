"""Families of models that went through the whole method on tiny models: docs/families.md."""

from __future__ import annotations

TRIED = frozenset(
    {
        "llama",
    }
)
"""Values of `model_type`; written by `make families`."""
