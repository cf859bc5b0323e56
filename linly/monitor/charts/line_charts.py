"""Charts of the metrics with a `Line` in the table: one number per step, or one per source."""

from __future__ import annotations

import numpy as np

from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.figures import (
    STRONG,
    Chart,
    Figure,
    edges,
    farthest,
    means,
    new_chart,
    new_figure,
    scatter,
    source_meta,
)
from linly.monitor.charts.labels import display_name
from linly.monitor.history.history import History
from linly.monitor.history.step_columns import Floats
from linly.records.metrics import Line, metrics_of
from linly.records.step_record import StepRecord

MAX_RAW_POINTS = 400
MAX_SMOOTH_POINTS = 100


def line_charts(history: History) -> tuple[Chart | None, ...]:
    """A chart of each metric with a `Line`, in the order of the table; without values, none."""
    return tuple(
        _chart(history, key, entry.shown, entry.unit, history.lines[key])
        for key, entry in metrics_of(StepRecord).items()
        if isinstance(entry.shown, Line) and np.isfinite(history.lines[key]).any()
    )


def _chart(history: History, key: str, line: Line, unit: str, values: Floats) -> Chart | None:
    """Chart of a metric: float64 [n], a number per step, or [n, k], a number per source."""
    hover = f"%{{y:{line.tickformat or '.4~g'}}}"
    figure = new_figure(unit, tickformat=line.tickformat, x_end=int(history.tokens_seen[-1]))
    note = f"{unit.capitalize()}{averaged(history)}."
    if values.ndim > 1:
        smooth_lines(figure, history, values, hover=hover)
    else:
        note += _single_line(figure, history, values, hover=f"{hover}<extra></extra>")
    figure.update_yaxes(rangemode="tozero")
    return new_chart(key.replace("_", "-"), line.title, note, figure)


def smooth_lines(figure: Figure, history: History, values: Floats, *, hover: str) -> None:
    """Draw the means of a number per source, float64 [n, k]."""
    colors = source_colors(history)
    at = edges(history.num_steps, MAX_SMOOTH_POINTS)
    for index, source in enumerate(history.sources):
        figure.add_trace(
            scatter(
                x=history.tokens_seen[at[1:] - 1],
                y=means(values[:, index], at),
                name=display_name(source),
                mode="lines",
                connectgaps=True,
                line={"width": 1.6, "color": colors[source]},
                hovertemplate=hover,
                meta=source_meta(history, source),
            )
        )


def _single_line(figure: Figure, history: History, values: Floats, *, hover: str) -> str:
    """Draw faint values and bold means; returns the note on the faint ones."""
    note = ""
    if history.num_steps > MAX_SMOOTH_POINTS:
        raw = farthest(values - np.nanmean(values), edges(history.num_steps, MAX_RAW_POINTS))
        note = " Faint: outliers." if history.num_steps > MAX_RAW_POINTS else " Faint: each step."
        figure.add_trace(
            scatter(
                x=history.tokens_seen[raw],
                y=values[raw],
                mode="lines",
                line={"width": 1},
                opacity=0.28,
                hoverinfo="skip",
                meta=STRONG,
            )
        )
    at = edges(history.num_steps, MAX_SMOOTH_POINTS)
    figure.add_trace(
        scatter(
            x=history.tokens_seen[at[1:] - 1],
            y=means(values, at),
            mode="lines",
            line={"width": 2},
            hovertemplate=hover,
            meta=STRONG,
        )
    )
    return note


def averaged(history: History) -> str:
    """Words on the means of a chart; empty if each point is one step."""
    window = round(history.num_steps / MAX_SMOOTH_POINTS)
    return f", means of {window} steps" if window > 1 else ""
