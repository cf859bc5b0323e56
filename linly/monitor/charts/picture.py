"""The mixture of a run as a PNG: planned boundaries over realized areas, for a README."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ticker import FuncFormatter, PercentFormatter

from linly.files import publish
from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.labels import spread
from linly.monitor.history.history import History, read_history
from linly.monitor.history.shares import Shares, last_of_groups, realized_and_planned
from linly.monitor.number_words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _SOFT = "#16181d", "#565d69"
_CHINESE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "SimHei")
_PLOT_WIDTH = 0.67
_LABEL_HEIGHT = 0.046
"""Share of the plot's height that a line of text takes."""


def write_picture(run_path: Path, output: Path) -> Path:
    """Write the mixture of a run as a PNG of 1600 x 800 pixels.

    Raises:
        ConfigError: If there is no run at `run_path`.
        TrainingError: If it has no step yet, or its logs are damaged.
    """
    publish(output, mixture_png(read_history(run_path)))
    return output


def mixture_png(history: History) -> bytes:
    """Draw the picture: areas are realized shares, lines the planned boundaries."""
    figure = Figure(figsize=(10, 5), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.075, 0.125, _PLOT_WIDTH, 0.76))
    shares = realized_and_planned(history)
    _draw_areas(axes, history, shares)
    _draw_axes(axes, shares)
    _label_sources(axes, history, shares)
    figure.text(0.075, 0.93, "Mixture over the run", size=13, weight="bold", color=_INK)
    figure.text(0.075 + _PLOT_WIDTH, 0.932, _key(shares), size=9, color=_SOFT, ha="right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_areas(axes: Axes, history: History, shares: Shares) -> None:
    colors = source_colors(history)
    x = shares.outline_tokens
    tops = np.cumsum(shares.outline, axis=1)
    bottom = np.zeros(len(x))
    for index, source in enumerate(history.sources):
        axes.fill_between(x, bottom, tops[:, index], color=colors[source], alpha=0.8, linewidth=0)
        bottom = tops[:, index]
    if shares.has_future:
        tokens, planned = shares.future
        axes.stackplot(
            tokens, planned.T, colors=[colors[name] for name in history.sources], alpha=0.25
        )
    lasts = last_of_groups(history)
    for index, boundary in enumerate(np.cumsum(shares.planned, axis=1)[:, :-1].T):
        width = 1.4 if index in lasts else 0.5
        axes.plot(shares.planned_tokens, boundary, color=_INK, linewidth=width)


def _draw_axes(axes: Axes, shares: Shares) -> None:
    axes.set_xlim(0, shares.end_tokens)
    axes.set_ylim(0, 1)
    axes.set_xlabel("tokens seen", color=_SOFT, size=10)
    axes.set_ylabel("share of rows", color=_SOFT, size=10)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.tick_params(colors=_SOFT, labelsize=9, length=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _tick(value: float) -> str:
    """Format a tick label briefly: 0, 500k, 2M."""
    text = count(value)
    return text[:-1].rstrip("0").rstrip(".") + text[-1] if "." in text else text


def _label_sources(axes: Axes, history: History, shares: Shares) -> None:
    """Draw names at the right, each next to its area's end, moved apart for thin areas."""
    colors = source_colors(history)
    tops = np.cumsum(shares.planned[-1])
    wanted = tops - shares.planned[-1] / 2
    for index, height in enumerate(spread(wanted.tolist(), _LABEL_HEIGHT)):
        source = history.sources[index]
        first, last = shares.planned[0, index], shares.planned[-1, index]
        axes.plot(
            [1.004, 1.012, 1.032, 1.042],
            [wanted[index], wanted[index], height, height],
            color=colors[source],
            linewidth=1.8,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1.05,
            height,
            f"{_shortened(source)}  {_percent(first)} → {_percent(last)}",
            transform=axes.transAxes,
            va="center",
            color=_INK,
            fontproperties=_font(),
            parse_math=False,
        )


def _key(shares: Shares) -> str:
    return "areas: trained on    lines: planned" + ("    pale: to come" * shares.has_future)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _shortened(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _font() -> FontProperties:
    """A font, with a Chinese one if the machine has it, for Chinese names of sources."""
    installed = {font.name for font in fontManager.ttflist}
    chinese = [name for name in _CHINESE_FONTS if name in installed]
    return FontProperties(family=["DejaVu Sans", *chinese], size=9)
