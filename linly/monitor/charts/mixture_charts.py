"""Charts of the mixture: the realized shares compared with the curriculum."""

from __future__ import annotations

import numpy as np

from linly.curriculum.deadlines import drift_bound
from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.figures import (
    STRONG,
    Chart,
    Figure,
    edges,
    faded,
    farthest,
    new_chart,
    new_figure,
    scatter,
    source_meta,
)
from linly.monitor.charts.labels import display_name
from linly.monitor.history.history import History
from linly.monitor.history.shares import Shares, last_of_groups, realized_and_planned

_DRIFT_POINTS = 100
_SINCE_START_POINTS = 60
_TOKEN_POINTS = 200
_MAX_MARKS = 50
_GROUP_WIDTH, _SOURCE_WIDTH = 1.8, 0.8
"""Line widths: boundaries between groups are wider than those within a group."""


def mixture_charts(history: History) -> tuple[Chart | None, ...]:
    """The mixture stacked, each source's share in windows and since the start, tokens, drift."""
    shares = realized_and_planned(history)
    return (
        _stacked(history, shares),
        _by_source(history, shares),
        _since_start(history),
        _tokens(history),
        _drift(history),
    )


def _stacked(history: History, shares: Shares) -> Chart | None:
    """Realized shares as stacked areas under the planned boundaries."""
    colors = source_colors(history)
    x, outline = shares.outline_tokens, shares.outline
    figure = new_figure("share of rows", tickformat=".0%", x_end=shares.end_tokens)
    for index, source in enumerate(history.sources):
        planned = np.interp(x, shares.planned_tokens, shares.planned[:, index])
        figure.add_trace(
            scatter(
                x=x,
                y=outline[:, index],
                name=display_name(source),
                stackgroup="realized",
                mode="lines",
                line={"width": 0, "color": colors[source]},
                fillcolor=faded(colors[source], 0.78),
                customdata=planned,
                hovertemplate="%{y:.1%} (planned %{customdata:.1%})",
                meta=source_meta(history, source),
            )
        )
    _add_future(figure, history, shares)
    lasts = last_of_groups(history)
    for index, boundary in enumerate(np.cumsum(shares.planned, axis=1)[:, :-1].T):
        width = _GROUP_WIDTH if index in lasts else _SOURCE_WIDTH
        figure.add_trace(
            scatter(
                x=shares.planned_tokens,
                y=boundary,
                mode="lines",
                line={"width": width},
                hoverinfo="skip",
                meta=STRONG | {"boundary": True},
            )
        )
    _mark_decisions(figure, history)
    figure.update_yaxes(range=[0, 1])
    note = "Areas: realized shares. Lines: the planned boundaries."
    if shares.has_future:
        note += " Pale: planned for the remaining steps."
    if history.decisions:
        note += " Vertical lines: decisions, listed below."
    if any(event.kind == "phase" for event in history.events):
        note += " A vertical line also marks where a training phase begins."
    return new_chart("mixture", "Mixture over the run", note, figure, is_wide=True)


def _mark_decisions(figure: Figure, history: History) -> None:
    """Draw a vertical line at each change of the plan, and where a training phase begins."""
    begun = [(event.step - 1, event) for event in history.events if event.kind == "phase"]
    marks = [*((event.step, event) for event in history.decisions), *begun]
    for step, event in sorted(marks, key=lambda mark: mark[0])[-_MAX_MARKS:]:
        tokens = history.tokens_at(step)
        figure.add_trace(
            scatter(
                x=[tokens, tokens],
                y=[0, 1],
                name=display_name(event.kind),
                mode="lines",
                line={"width": 1.4, "dash": "dot"},
                hoverinfo="skip",
                meta=STRONG,
            )
        )


def _add_future(figure: Figure, history: History, shares: Shares) -> None:
    """Draw pale areas for the plan after the last step."""
    if not shares.has_future:
        return
    colors = source_colors(history)
    tokens, planned = shares.future
    for index, source in enumerate(history.sources):
        figure.add_trace(
            scatter(
                x=tokens,
                y=planned[:, index],
                name=display_name(source),
                stackgroup="planned",
                mode="lines",
                line={"width": 0, "color": colors[source]},
                fillcolor=faded(colors[source], 0.25),
                hovertemplate="planned %{y:.1%}",
                meta=source_meta(history, source),
            )
        )


def _by_source(history: History, shares: Shares) -> Chart | None:
    """Planned share of each source as a thin line over the realized one."""
    colors = source_colors(history)
    figure = new_figure("share of rows", tickformat=".0%", x_end=shares.end_tokens)
    for index, source in enumerate(history.sources):
        color, meta = colors[source], source_meta(history, source)
        figure.add_trace(
            scatter(
                x=shares.outline_tokens,
                y=shares.outline[:, index],
                mode="lines",
                line={"width": 6, "color": color},
                opacity=0.38,
                hoverinfo="skip",
                meta=meta,
            )
        )
        realized = np.interp(
            shares.planned_tokens, shares.outline_tokens, shares.outline[:, index], right=np.nan
        )
        figure.add_trace(
            scatter(
                x=shares.planned_tokens,
                y=shares.planned[:, index],
                name=display_name(source),
                mode="lines",
                line={"width": 1.6, "color": color},
                customdata=realized,
                hovertemplate="planned %{y:.2%}, realized %{customdata:.2%}",
                meta=meta,
            )
        )
    figure.update_yaxes(rangemode="tozero")
    window = shares.steps_per_window
    over = "each step" if window <= 1 else f"windows of {window} steps"
    note = f"Wide lines: realized, counted over {over}. Thin lines: planned."
    return new_chart("shares", "Share of each source", note, figure)


def _since_start(history: History) -> Chart | None:
    """Each source's share of all rows so far, over its planned share."""
    colors = source_colors(history)
    points = edges(history.num_steps, _SINCE_START_POINTS)[1:] - 1
    x = history.tokens_seen[points]
    realized = history.rows[points] / history.rows[points].sum(axis=1, keepdims=True)
    total = np.maximum(history.planned_rows[points].sum(axis=1, keepdims=True), 1)
    planned = history.planned_rows[points] / total
    figure = new_figure("share of all rows", tickformat=".0%", x_end=int(history.tokens_seen[-1]))
    for index, source in enumerate(history.sources):
        color, meta = colors[source], source_meta(history, source)
        figure.add_trace(
            scatter(
                x=x,
                y=planned[:, index],
                name=display_name(source),
                mode="lines",
                line={"width": 1.6, "color": color},
                customdata=realized[:, index],
                hovertemplate="planned %{y:.3%}, realized %{customdata:.3%}",
                meta=meta,
            )
        )
        figure.add_trace(
            scatter(
                x=x,
                y=realized[:, index],
                mode="markers",
                marker={"size": 5, "color": color, "opacity": 0.6},
                hoverinfo="skip",
                meta=meta,
            )
        )
    figure.update_yaxes(rangemode="tozero")
    note = "Counted from the first row on. Dots: realized. Lines: planned."
    return new_chart("since-start", "Share since the start", note, figure)


def _tokens(history: History) -> Chart | None:
    """Tokens in each source's rows, and those of them that carry loss."""
    colors = source_colors(history)
    points = edges(history.num_steps, _TOKEN_POINTS)[1:] - 1
    x = history.tokens_seen[points]
    figure = new_figure("tokens", x_end=int(history.tokens_seen[-1]))
    for index, source in enumerate(history.sources):
        color, meta = colors[source], source_meta(history, source)
        supervised = history.supervised_tokens[points, index]
        figure.add_trace(
            scatter(
                x=x,
                y=history.rows[points, index] * history.row_length,
                name=display_name(source),
                mode="lines",
                line={"width": 2, "color": color},
                customdata=supervised,
                hovertemplate="%{y:.4~s}, with loss %{customdata:.4~s}",
                meta=meta,
            )
        )
        figure.add_trace(
            scatter(
                x=x,
                y=supervised,
                mode="lines",
                line={"width": 1.4, "color": color, "dash": "dot"},
                hoverinfo="skip",
                meta=meta,
            )
        )
    figure.update_yaxes(rangemode="tozero")
    note = "Solid: tokens in rows. Dotted: those that carry loss; prompts and padding do not."
    return new_chart("tokens", "Tokens of each source", note, figure)


def _drift(history: History) -> Chart | None:
    """Rows that each source is ahead of its plan, with the bounds; None for a single step."""
    if history.num_steps < 2:
        return None
    bound = drift_bound(len(history.sources))
    colors = source_colors(history)
    end = int(history.tokens_seen[-1])
    at = edges(history.num_steps, _DRIFT_POINTS)
    figure = new_figure("rows ahead of plan", x_end=end)
    for index, source in enumerate(history.sources):
        points = farthest(history.drift[:, index], at)
        figure.add_trace(
            scatter(
                x=history.tokens_seen[points],
                y=history.drift[points, index],
                name=display_name(source),
                mode="markers",
                marker={"size": 4, "color": colors[source], "opacity": 0.75},
                hovertemplate="%{y:+.2f}",
                meta=source_meta(history, source),
            )
        )
    for side in (bound, -bound):
        figure.add_trace(
            scatter(
                x=[0, end],
                y=[side, side],
                mode="lines",
                line={"width": 1.4, "dash": "dash"},
                hoverinfo="skip",
                meta=STRONG,
            )
        )
    reach = 1.2 * max(1.0, history.largest_drift)
    figure.update_yaxes(range=[-reach, reach])
    note = (
        "Rows that a source is ahead (+) or behind (−), at the extreme of each range of steps. "
        f"Dashed: the bound, ±{bound:.2f} row."
    )
    return new_chart("drift", "Drift from the plan", note, figure)
