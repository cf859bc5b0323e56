"""The picture of a plan: shares along the run over tokens of each source, as PNG or HTML."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linly.curriculum.wording import percent
from linly.errors import ConfigError
from linly.files import publish, publish_text
from linly.monitor.charts.colors import source_colors
from linly.monitor.number_words import count
from linly.monitor.plans.plan_facts import PlanFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _SOFT = "#16181d", "#565d69"


def write_picture(facts: PlanFacts, path: Path) -> None:
    """Write a PNG, or an HTML page that needs no network, by the suffix of `path`.

    Raises:
        ConfigError: If the suffix is neither, or the folder does not exist.
    """
    if path.suffix not in (".png", ".html"):
        raise ConfigError(f"--plot {path}: found {path.suffix!r}, allowed: .png or .html")
    if not path.parent.is_dir():
        raise ConfigError(f"--plot {path}: folder {path.parent} does not exist: create it first")
    if path.suffix == ".png":
        publish(path, plan_png(facts))
        return
    from linly.monitor.plans.plan_page import plan_html

    publish_text(path, plan_html(facts))


def plan_png(facts: PlanFacts) -> bytes:
    """Draw with matplotlib, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from linly.monitor.plans.plan_page import cost_line

    bars_height = 0.9 + 0.26 * len(facts.sources)
    figure = Figure(figsize=(10.0, 4.8 + bars_height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=[4.8, bars_height])
    _draw_shares(above, facts)
    _draw_tokens(below, facts)
    above.set_title(
        facts.name, loc="left", pad=22, size=13, weight="bold", color=_INK, parse_math=False
    )
    above.annotate(
        cost_line(facts),
        (0.0, 1.0),
        (0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        size=9,
        color=_SOFT,
        parse_math=False,
    )
    output = io.BytesIO()
    figure.savefig(output, format="png", dpi=150, metadata={"Software": None})
    return output.getvalue()


def _draw_shares(axes: Axes, facts: PlanFacts) -> None:
    """Draw stacked shares, with a diamond where a source repeats."""
    colors = source_colors(facts.groups)
    unit, scale = _token_unit(float(facts.tokens[-1]))
    order = [source for sources in facts.groups.values() for source in sources]
    axes.stackplot(
        facts.tokens / scale,
        [100.0 * facts.shares[source] for source in order],
        colors=[colors[source] for source in order],
        edgecolor="white",
        linewidth=0.4,
    )
    repeats = {source.name: np.array(source.repeats) for source in facts.sources}
    bottom = np.zeros(len(facts.tokens))
    for source in order:
        middle = bottom + facts.shares[source] / 2
        at = repeats[source]
        axes.plot(
            at / scale,
            100.0 * np.interp(at, facts.tokens, middle),
            "D",
            color="white",
            markeredgecolor=_INK,
            markersize=6,
        )
        bottom = bottom + facts.shares[source]
    for edge in facts.raised.values():
        axes.plot(facts.tokens / scale, 100.0 * edge, "--", color=_INK, linewidth=1.4)
    axes.set_xlim(0.0, float(facts.tokens[-1]) / scale)
    axes.set_ylim(0.0, 100.0)
    axes.set_xlabel(f"tokens seen ({unit})" if unit else "tokens seen", color=_SOFT)
    label = "share of rows (%)"
    label += "   ◆ repeats" * any(map(len, repeats.values()))
    axes.set_ylabel(label + "   - - with its guard at the cap" * bool(facts.raised))
    axes.yaxis.label.set_color(_SOFT)
    _add_legend(axes, facts, colors)
    _plain_frame(axes)


def _draw_tokens(axes: Axes, facts: PlanFacts) -> None:
    """Draw bars of the planned tokens, with a mark at the tokens that the source has."""
    colors = source_colors(facts.groups)
    most = max(max(source.tokens, source.available or 0) for source in facts.sources)
    unit, scale = _token_unit(most)
    lines = facts.sources[::-1]
    axes.barh(
        range(len(lines)),
        [source.tokens / scale for source in lines],
        height=0.55,
        color=[colors[source.name] for source in lines],
    )
    for line, source in enumerate(lines):
        words = count(source.tokens)
        if source.available is not None and source.epochs is not None:
            end = source.available / scale
            axes.plot([end, end], [line - 0.4, line + 0.4], color=_INK, linewidth=2)
            words += f" of {count(source.available)}: {source.epochs:.2f} epochs"
        if source.loss_share is not None:
            words += f", {percent(source.loss_share, 3)} of the loss"
        place = max(source.tokens, source.available or 0) / scale
        axes.text(place + 0.008 * most / scale, line, words, va="center", size=8.5, color=_INK)
    axes.set_yticks(range(len(lines)), [source.name for source in lines], parse_math=False)
    axes.set_xlim(0.0, 1.42 * most / scale)
    is_known = any(source.available is not None for source in facts.sources)
    what = "planned tokens" + (", mark: available tokens" * is_known)
    axes.set_xlabel(f"{what} ({unit})" if unit else what, color=_SOFT)
    _plain_frame(axes)


def _plain_frame(axes: Axes) -> None:
    axes.tick_params(colors=_SOFT, labelsize=9, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c5cad3")


def _add_legend(axes: Axes, facts: PlanFacts, colors: Mapping[str, str]) -> None:
    """Draw a legend of sources by group, from the top of the stack down."""
    from matplotlib.patches import Patch

    handles: list[Patch] = []
    headings: set[int] = set()
    for group, sources in reversed(list(facts.groups.items())):
        headings.add(len(handles))
        handles.append(Patch(alpha=0.0, label=group))
        for source in reversed(sources):
            label = f"{source}  {_span(facts, source)}"
            handles.append(Patch(color=colors[source], label=label))
    legend = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
        handlelength=1.2,
        fontsize=9 if len(handles) <= 22 else max(4.0, 9.0 * 22 / len(handles)),
    )
    for index, text in enumerate(legend.get_texts()):
        text.set_parse_math(False)
        if index in headings:
            text.set_fontweight("bold")


def _span(facts: PlanFacts, source: str) -> str:
    """Share of a source at the start and at the end of the run."""
    shares = facts.shares[source]
    first, last = percent(float(shares[0]), 3), percent(float(shares[-1]), 3)
    return first if first == last else f"{first} \N{RIGHTWARDS ARROW} {last}"


def _token_unit(tokens: float) -> tuple[str, float]:
    """Name and size of the unit that keeps the numbers on an axis short."""
    units = (("billions", 1e9), ("millions", 1e6), ("thousands", 1e3))
    return next(((name, size) for name, size in units if tokens >= size), ("", 1.0))
