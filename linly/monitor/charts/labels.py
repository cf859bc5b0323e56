"""Labels of charts: names as plain text, places that do not overlap, ticks of small numbers."""

from __future__ import annotations

import html
import math
from typing import Any


def display_name(name: str) -> str:
    """Escape a name for plotly, which interprets some HTML."""
    return html.escape(name, quote=False)


def short_name(name: str, limit: int = 22) -> str:
    """Shorten a name to fit next to a chart, in its middle, where names differ least."""
    if len(name) <= limit:
        return display_name(name)
    head = (limit - 1) * 2 // 3
    return display_name(f"{name[:head]}…{name[head - limit + 1 :]}")


def height_of_lines(num_lines: int) -> int:
    """Height in pixels of a chart whose vertical axis has `num_lines` lines of text."""
    return 70 + 28 * max(num_lines, 3)


def spread(wanted: list[float], height: float) -> list[float]:
    """Positions in ascending order, at least `height` apart and close to the wanted ones.

    They stay between 0 and 1 if they fit.
    """
    height = min(height, 1.0 / max(1, len(wanted)))
    placed: list[float] = []
    for value in wanted:
        placed.append(max(value, placed[-1] + height if placed else height / 2))
    limit = 1.0 - height / 2
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - height
    return placed


def small_ticks(most: float) -> dict[str, Any]:
    """Ticks of an axis from 0 to `most`, which is small, in the form 2e-5."""
    ticks = _round_steps(most)
    return {"tickvals": ticks, "ticktext": list(map(_exponent, ticks))}


def _round_steps(most: float) -> list[float]:
    """A few round numbers from 0 to about `most`, because plotly writes small ones as 0.2e-4."""
    if most <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(most))
    step = next(size for size in (0.2, 0.5, 1.0, 2.0) if most / (size * power) <= 5.5) * power
    return [index * step for index in range(int(1.001 * most / step) + 1)]


def _exponent(value: float) -> str:
    """A small number as people write it: 0, 2e-5, 1.5e-4."""
    if not value:
        return "0"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
