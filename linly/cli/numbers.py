"""Bounds of the numbers that options take."""

from __future__ import annotations

import math

import typer

MAX_COUNT = 10**12
"""Rows, documents or steps: no run has more."""

MAX_SEED = 2**63 - 1
"""Generators take seeds of 63 bits."""


def finite(value: float | None) -> float | None:
    """Refuse NaN and infinity, which no range of an option leaves out (an option's callback)."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"found {value}, allowed: a finite number")
    return value
