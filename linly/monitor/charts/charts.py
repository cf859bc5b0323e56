"""The charts of a run as plotly figures, one colour per source in all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.data_charts import data_charts
from linly.monitor.charts.evaluation_charts import evaluation_charts
from linly.monitor.charts.figures import (
    STRONG,
    Chart,
    edges,
    means,
    new_chart,
    new_figure,
    plain,
    scatter,
    source_meta,
)
from linly.monitor.charts.labels import display_name, height_of_lines, small_ticks
from linly.monitor.charts.line_charts import (
    MAX_RAW_POINTS,
    MAX_SMOOTH_POINTS,
    averaged,
    line_charts,
    smooth_lines,
)
from linly.monitor.charts.mixture_charts import mixture_charts
from linly.monitor.charts.task_charts import drift_chart, task_charts
from linly.monitor.history.decisions import told
from linly.monitor.history.history import History
from linly.monitor.history.step_columns import Floats, Integers


def run_charts(history: History) -> tuple[Chart, ...]:
    """All charts of a run by section, in the order of the page; those without data are left out."""
    sections: dict[str, tuple[Chart | None, ...]] = {
        "Results": (*evaluation_charts(history), *task_charts(history), _loss(history)),
        "Mixture": mixture_charts(history),
        "Data": (_epochs(history), *data_charts(history)),
        "Training": (
            _learning_rate(history),
            *line_charts(history),
            drift_chart(history),
            _timeline(history),
        ),
    }
    return tuple(
        replace(chart, section=section)
        for section, charts in sections.items()
        for chart in charts
        if chart is not None
    )


def _loss(history: History) -> Chart | None:
    """Training loss of each source and of all sources."""
    figure = new_figure("loss, nats per token", x_end=int(history.tokens_seen[-1]))
    smooth_lines(figure, history, history.loss_by_source, hover="%{y:.3f}")
    at = edges(history.num_steps, MAX_SMOOTH_POINTS)
    figure.add_trace(
        scatter(
            x=history.tokens_seen[at[1:] - 1],
            y=means(history.loss, at),
            name="all sources",
            mode="lines",
            line={"width": 2.4},
            hovertemplate="%{y:.3f}",
            meta=STRONG,
        )
    )
    note = f"Over supervised tokens{averaged(history)}. Bold: all sources."
    return new_chart("loss", "Training loss by source", note, figure)


def _epochs(history: History) -> Chart | None:
    """Epoch of each source; None while all are in their first."""
    most = float(np.nanmax(history.epoch, initial=0.0))
    if not most:
        return None
    colors = source_colors(history)
    points = edges(history.num_steps, MAX_RAW_POINTS)[1:] - 1
    figure = new_figure("epochs", x_end=int(history.tokens_seen[-1]))
    for index, source in enumerate(history.sources):
        figure.add_trace(
            scatter(
                x=history.tokens_seen[points],
                y=history.epoch[points, index],
                name=display_name(source),
                mode="lines",
                line={"width": 1.8, "color": colors[source], "shape": "hv"},
                hovertemplate="%{y:.4~g}",
                meta=source_meta(history, source),
            )
        )
        repeats = _repeats(history.epoch[:, index])
        if len(repeats):
            figure.add_trace(
                scatter(
                    x=history.tokens_seen[repeats],
                    y=history.epoch[repeats, index],
                    mode="markers",
                    marker={"size": 8, "symbol": "diamond", "color": colors[source]},
                    hoverinfo="skip",
                    cliponaxis=False,
                    meta=source_meta(history, source),
                )
            )
    most = max(1.0, most)
    figure.update_yaxes(range=[0, 1.08 * most], dtick=math.ceil(most / 6), nticks=0)
    note = "Number of times that a source's records have been read. Diamonds: a repeat begins."
    return new_chart("epochs", "Epochs of each source", note, figure)


def _repeats(epoch: Floats) -> Integers:
    """Indices of the steps at which a source was restarted."""
    whole = np.floor(np.maximum.accumulate(np.nan_to_num(epoch)))
    return np.flatnonzero(np.diff(whole, prepend=0.0) > 0).astype(np.int64)


def _learning_rate(history: History) -> Chart | None:
    points = edges(history.num_steps, MAX_RAW_POINTS)[1:] - 1
    figure = new_figure("learning rate", x_end=int(history.tokens_seen[-1]))
    figure.add_trace(
        scatter(
            x=history.tokens_seen[points],
            y=history.lr[points],
            mode="lines",
            line={"width": 2},
            hovertemplate="%{y:.3~e}<extra></extra>",
            meta=STRONG,
        )
    )
    most = float(np.nanmax(history.lr, initial=0.0))
    figure.update_yaxes(rangemode="tozero", **small_ticks(most))
    return new_chart("lr", "Learning rate", "As set for each step.", figure)


def _timeline(history: History) -> Chart | None:
    """Chart of the events, one line per kind; None without two events."""
    untold = [one for one in told(history.decisions, history.events) if one not in history.events]
    all_events = sorted((*history.events, *untold), key=lambda event: event.step)
    if len(all_events) < 2:
        return None
    kinds = list(dict.fromkeys(event.kind for event in all_events))
    figure = new_figure("")
    for kind in reversed(kinds):
        events = [event for event in all_events if event.kind == kind]
        figure.add_trace(
            scatter(
                x=[history.tokens_at(event.step) for event in events],
                y=[display_name(kind)] * len(events),
                mode="markers",
                marker={"size": 10, "symbol": "line-ns", "line": {"width": 2}},
                customdata=[[event.step, display_name(event.text)] for event in events],
                hovertemplate="step %{customdata[0]}: %{customdata[1]}<extra></extra>",
                cliponaxis=False,
                meta=STRONG,
            )
        )
    figure.update_layout(hovermode="closest", hoverdistance=20)
    figure.update_xaxes(range=[0, int(history.tokens_seen[-1])])
    figure.update_yaxes(type="category", dtick=1, nticks=0)
    note = "Events by kind; the list is below."
    height = height_of_lines(len(kinds))
    return Chart("timeline", "Events", note, plain(figure), is_wide=True, height_px=height)
