"""Common parts of all charts: an empty figure, its traces, thinned series.

Figures are built as the plain data that plotly's script reads. plotly's Python objects check every
value and take ten times as long, at every update of a live page (a test checks the values instead).
A figure does not hold colours of the page: traces in the page's ink are marked in `meta`, and the
page colours them for light or dark.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from linly.monitor.charts.labels import display_name
from linly.monitor.history.history import History
from linly.monitor.history.step_columns import Floats, Integers

STRONG = {"ink": "strong"}
MUTED = {"ink": "muted"}
"""`meta` of a trace in the page's ink instead of a source's colour."""


Trace = dict[str, Any]
"""Trace of a figure, created by `scatter` or `bar`."""


def scatter(**values: Any) -> Trace:
    """Create a trace of lines, markers, areas or text, by plotly's names."""
    return {"type": "scatter", **values}


def bar(**values: Any) -> Trace:
    """Create a trace of bars, by plotly's names."""
    return {"type": "bar", **values}


def evaluated_line(
    x: Sequence[float],
    y: Sequence[float | None],
    *,
    name: str,
    line: dict[str, Any],
    hover: str,
    meta: dict[str, Any],
    texts: Sequence[object] = (),
) -> Trace:
    """Create a line through the values of evaluations, each marked because they are few.

    Args:
        x: Tokens seen.
        y: Value of each evaluation; None or NaN leaves a gap.
        name: Name in the legend.
        line: Its colour, dash or width, by plotly's names.
        hover: Template of the hover text.
        meta: `meta` of the trace: its source, or the page's ink.
        texts: Text that each value was measured on; the line is broken where it changes.
    """
    if texts:
        x, y = with_breaks(texts, x, y)
    return scatter(
        x=x,
        y=y,
        name=display_name(name),
        mode="lines+markers",
        line={"width": 2, **line},
        marker={"size": 5},
        hovertemplate=hover,
        cliponaxis=False,
        meta=meta,
    )


def with_breaks(texts: Sequence[object], *columns: Sequence[Any]) -> list[list[Any]]:
    """Columns of a line's points, with a gap wherever the text of its values changes.

    Args:
        texts: Text that each point was measured on.
        columns: Values of the points.
    """
    rows: list[tuple[Any, ...]] = []
    for index, row in enumerate(zip(*columns, strict=True)):
        if index and texts[index] != texts[index - 1]:
            rows.append((None,) * len(columns))
        rows.append(row)
    return [list(column) for column in zip(*rows, strict=True)]


class Figure:
    """Traces and a layout, by plotly's names."""

    def __init__(self, layout: dict[str, Any]) -> None:
        """Create a figure without traces."""
        self.data: list[Trace] = []
        self.layout = layout

    def add_trace(self, trace: Trace) -> None:
        """Draw a trace over the ones before it."""
        self.data.append(trace)

    def update_layout(self, **values: Any) -> None:
        """Set parts of the layout."""
        self.layout = _merged(self.layout, values)

    def update_xaxes(self, **values: Any) -> None:
        """Set parts of the horizontal axis."""
        self.update_layout(xaxis=values)

    def update_yaxes(self, **values: Any) -> None:
        """Set parts of the vertical axis."""
        self.update_layout(yaxis=values)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge one mapping into another, recursively."""
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        merged[key] = _merged(old[key], value) if both else value
    return merged


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its title and note.

    Attributes:
        key: Unique name, used as the element's id.
        title: Title of the chart.
        note: Explanation of how to read it.
        figure: plotly's {"data", "layout"}.
        is_wide: Whether it takes the page's whole width.
        height_px: Height in pixels, if the page's usual height does not fit.
        section: Heading of the part of the page with it; empty on a page of few charts.
    """

    key: str
    title: str
    note: str
    figure: dict[str, Any]
    is_wide: bool = False
    height_px: int | None = None
    section: str = ""


def new_chart(
    key: str,
    title: str,
    note: str,
    figure: Figure,
    is_wide: bool = False,
    height_px: int | None = None,
) -> Chart | None:
    """Create the chart of a figure; None if it would look blank, as no trace has two points."""
    if not any(_num_points(trace) > 1 for trace in figure.data if trace["meta"] != MUTED):
        return None
    return Chart(key, title, note, plain(figure), is_wide, height_px)


def _num_points(trace: Trace) -> int:
    return int(np.isfinite(np.asarray(trace["y"], np.float64)).sum())


def source_meta(history: History, name: str) -> dict[str, Any]:
    """`meta` of a trace, with which the legend hides it together with its source."""
    return {"source": history.sources.index(name)} if name in history.sources else dict(MUTED)


def new_figure(
    y_title: str, *, tickformat: str = "", x_end: float | None = None, legend: bool = False
) -> Figure:
    """Create an empty figure over tokens seen, with margins that fit its labels.

    Args:
        y_title: Name and unit of the vertical axis.
        tickformat: Number format of the vertical axis, in d3's form.
        x_end: Tokens at the right end; by default the end of the traces.
        legend: Whether it has its own legend, for lines that are not sources.
    """
    axis = {"automargin": True, "zeroline": False, "ticklabelstandoff": 4, "nticks": 6}
    top = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return Figure(
        {
            "template": None,
            "showlegend": legend,
            "legend": top,
            "hovermode": "x unified",
            "hoverdistance": -1,
            "margin": {"l": 8, "r": 16, "t": 10, "b": 8, "pad": 0},
            "xaxis": {
                **axis,
                "title": {"text": "tokens seen", "standoff": 8},
                "exponentformat": "B",
                "showgrid": False,
                "unifiedhovertitle": {"text": "%{x:.4~s} tokens"},
                "range": None if x_end is None else [0, x_end],
            },
            "yaxis": {
                **axis,
                "title": {"text": y_title, "standoff": 10},
                "tickformat": tickformat,
                "exponentformat": "B",
                "showspikes": False,
            },
        }
    )


def plain(figure: Figure) -> dict[str, Any]:
    """Convert a figure to data for the page, in single precision, which suffices for a screen."""
    traces = [_plain(_visible(trace)) for trace in figure.data]
    return {"data": traces, "layout": _plain(figure.layout)}


def _visible(trace: Trace) -> Trace:
    """Mark the point of a line that has only one, which would be invisible otherwise."""
    if trace.get("mode") != "lines" or "stackgroup" in trace:
        return trace
    return {**trace, "mode": "lines+markers"} if _num_points(trace) == 1 else trace


def _plain(value: Any) -> Any:
    """Convert values to JSON types, without unset ones; arrays in plotly's packed form."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(value.astype("<f4").tobytes()).decode()
        shape = {"shape": ", ".join(map(str, value.shape))} if value.ndim > 1 else {}
        return {"dtype": "f4", "bdata": packed, **shape}
    return value


def edges(num_steps: int, max_buckets: int) -> Integers:
    """Bounds of at most `max_buckets` buckets of steps, int64 [buckets + 1]."""
    return np.linspace(0, num_steps, min(num_steps, max_buckets) + 1).astype(np.int64)


def means(values: Floats, at: Integers) -> Floats:
    """Mean of each bucket without its NaNs; NaN for a bucket of only NaNs."""
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), at[:-1])
    counts = np.add.reduceat(known.astype(np.float64), at[:-1])
    result = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=result, where=counts > 0)
    return result


def farthest(values: Floats, at: Integers) -> Integers:
    """Index of each bucket's value farthest from 0, so that thinning does not hide a peak."""
    size = np.nan_to_num(np.abs(values), nan=-1.0)
    return np.array([a + int(np.argmax(size[a:b])) for a, b in pairwise(at)])


def faded(color: str, opacity: float) -> str:
    """Return a colour with an opacity, as rgba."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
