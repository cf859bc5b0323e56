"""Bounds of numeric options."""

from __future__ import annotations

import math

import typer

MAX_COUNT = 10**12
"""Largest number of rows, documents or steps: no run has more."""

MAX_SEED = 2**63 - 1
"""Largest seed: generators take 63 bits."""


def finite(value: float | None) -> float | None:
    """Refuse NaN and infinity, which an option's range does not exclude (an option's callback)."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"found {value}, allowed: a finite number")
    return value
