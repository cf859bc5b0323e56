"""Charts of the use of the data: fill of rows, bad records, new pieces."""

from __future__ import annotations

import numpy as np

from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.figures import (
    MUTED,
    STRONG,
    Chart,
    edges,
    evaluated_line,
    new_chart,
    new_figure,
    scatter,
    source_meta,
)
from linly.monitor.charts.labels import display_name
from linly.monitor.history.history import History
from linly.monitor.history.step_columns import Floats
from linly.records.measures import fill

_FILL_WINDOWS = 60


def data_charts(history: History) -> tuple[Chart | None, ...]:
    """Fill of rows, records set aside, new pieces; None for a chart without data."""
    return (_fill(history), _quarantine(history), _use_of_new_pieces(history), _norms(history))


def fill_since_start(history: History) -> Floats:
    """Fraction of each source's positions that hold a document, float64 [k]; NaN without rows."""
    return fill(history.rows[-1], history.padding[-1], row_length=history.row_length)


def _fill(history: History) -> Chart | None:
    """Fill of the rows of sources whose documents are not split to fit."""
    padded = np.flatnonzero(history.padding[-1])
    if not len(padded):
        return None
    at = edges(history.num_steps, _FILL_WINDOWS)
    colors = source_colors(history)
    zeros = np.zeros((1, len(history.sources)))
    rows = np.diff(np.vstack([zeros, history.rows])[at], axis=0)
    padding = np.diff(np.vstack([zeros, history.padding])[at], axis=0)
    filled = fill(rows, padding, row_length=history.row_length)
    figure = new_figure("fraction of a row", tickformat=".0%", x_end=int(history.tokens_seen[-1]))
    for index in padded.tolist():
        source = history.sources[index]
        figure.add_trace(
            scatter(
                x=history.tokens_seen[at[1:] - 1],
                y=filled[:, index],
                name=display_name(source),
                mode="lines",
                connectgaps=True,
                line={"width": 1.8, "color": colors[source]},
                hovertemplate="%{y:.1%}",
                meta=source_meta(history, source),
            )
        )
    low = float(np.nanmin(filled[:, padded]))
    figure.update_yaxes(range=[max(0.0, min(0.9, low - 0.05)), 1.0])
    note = "Fraction of each row's positions that hold a document; the rest is padding. "
    note += "Sources that are not shown fill every position."
    return new_chart("fill", "How full rows are", note, figure)


def _quarantine(history: History) -> Chart | None:
    """Number of bad records so far, by source."""
    if not history.quarantined_at:
        return None
    colors = source_colors(history)
    end = int(history.tokens_seen[-1])
    figure = new_figure("records so far", x_end=end)
    names = {source for _, source in history.quarantined_at}
    order = {name: index for index, name in enumerate(history.sources)}
    for source in sorted(names, key=lambda name: (order.get(name, len(order)), name)):
        found = sorted(
            (at, n) for (at, name), n in history.quarantined_at.items() if name == source
        )
        x = [0, *(min(end, history.tokens_at(step)) for step, _ in found), end]
        total = np.cumsum([0, *(number for _, number in found), 0])
        figure.add_trace(
            scatter(
                x=x,
                y=total,
                name=display_name(source),
                mode="lines",
                line={"width": 1.8, "shape": "hv", "color": colors.get(source)},
                hovertemplate="%{y}",
                meta=source_meta(history, source),
            )
        )
    figure.update_yaxes(rangemode="tozero")
    note = "Bad records left out so far; the reasons are listed below."
    return new_chart("quarantine", "Records set aside", note, figure)


def _use_of_new_pieces(history: History) -> Chart | None:
    found = [(e.tokens_seen, e.new_pieces) for e in history.evaluations if e.new_pieces]
    if not found:
        return None
    tokens = [x for x, _ in found]
    figure = new_figure("part", tickformat=".0%", x_end=int(history.tokens_seen[-1]), legend=True)
    for name, values, dash in (
        ("new pieces among the tokens so far", [p.share_of_tokens for _, p in found], "solid"),
        ("new pieces seen at least once", [p.num_seen / p.num_pieces for _, p in found], "dash"),
    ):
        figure.add_trace(
            evaluated_line(
                tokens, values, name=name, line={"dash": dash}, hover="%{y:.2%}", meta=STRONG
            )
        )
    figure.update_yaxes(rangemode="tozero")
    last = found[-1][1]
    note = (
        f"{last.num_seen:,} of {last.num_pieces:,} new pieces of the vocabulary were seen so far."
    )
    return new_chart("new-pieces", "New pieces in the data", note, figure)


def _norms(history: History) -> Chart | None:
    found = [(e.tokens_seen, e.new_pieces) for e in history.evaluations if e.new_pieces]
    if not found:
        return None
    tokens = [x for x, _ in found]
    figure = new_figure("mean norm of a row", x_end=int(history.tokens_seen[-1]), legend=True)
    for name, values, meta, dash in (
        ("new pieces", [pieces.norm for _, pieces in found], STRONG, "solid"),
        ("all others", [pieces.norm_of_others for _, pieces in found], MUTED, "dash"),
    ):
        figure.add_trace(
            evaluated_line(
                tokens, values, name=name, line={"dash": dash}, hover="%{y:.3~f}", meta=meta
            )
        )
    figure.update_yaxes(rangemode="tozero")
    note = "Rows of the input embedding. New rows start as means of others, so they are short."
    return new_chart("norms", "Embedding rows of new pieces", note, figure)
