"""Charts of the evaluations: gains and losses on held-out text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linly.config.sections.languages import language_name
from linly.monitor.charts.colors import language_colors, source_colors
from linly.monitor.charts.figures import (
    MUTED,
    STRONG,
    Chart,
    Trace,
    evaluated_line,
    new_chart,
    new_figure,
    scatter,
    source_meta,
)
from linly.monitor.charts.labels import display_name, height_of_lines, short_name
from linly.monitor.history.headlines import average_series, language_series
from linly.monitor.history.history import History
from linly.records.before_after import BitsChange, changes_by_source

_MAX_NARROW_LINES = 7
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def evaluation_charts(history: History) -> tuple[Chart | None, ...]:
    """Held-out text: by language, by source relative to the start, before and after.

    None for a chart without data.
    """
    if not history.evaluations or not history.evaluations[0].sources:
        return ()
    return (
        _languages(history),
        _changes(history),
        _together(history),
        _before_and_after(history),
    )


def _languages(history: History) -> Chart | None:
    colors = language_colors(history)
    figure = new_figure("bits per byte", x_end=_end(history), legend=True)
    series = language_series(history)
    for index, (language, changes) in enumerate(series.items()):
        color = colors.get(language)
        line = {"color": color} if color else {"dash": _DASHES[index % len(_DASHES)]}
        meta: dict[str, Any] = {} if color else STRONG
        figure.add_trace(
            bits_line(history, changes, name=language_name(language), line=line, meta=meta)
        )
        figure.add_trace(_levels(history, changes, color))
    averaged = average_series(history)
    for language, changes in averaged.items():
        color = colors.get(language)
        line = {"dash": "dash", **({"color": color} if color else {})}
        name = f"{language_name(language)}, averaged weights"
        figure.add_trace(
            bits_line(history, changes, name=name, line=line, meta={} if color else STRONG)
        )
    figure.update_yaxes(rangemode="tozero")
    note = "Bits per byte, lower is better. Dotted: the original model (step 0)."
    if averaged:
        note += " Dashed: the averaged weights (training.average)."
    if any(len(set(texts_of(changes))) > 1 for changes in series.values()):
        note += " Lines are broken where the evaluated sources change."
    last = [changes[-1] for changes in series.values()]
    if left_out := [name for change in last if change for name in change.left_out]:
        note += f" Without {', '.join(left_out)}: not evaluated at both ends."
    return new_chart("languages", "Held-out text by language", note, figure)


def bits_line(
    history: History,
    changes: Sequence[BitsChange | None],
    *,
    name: str,
    line: dict[str, Any],
    meta: dict[str, Any],
) -> Trace:
    """A language's bits per byte, in a line that is broken where the evaluated text changes.

    Args:
        history: History of the run.
        changes: Change of the language at each evaluation.
        name: Name in the legend.
        line: Colour or dash of the line, by plotly's names.
        meta: `meta` of the trace.
    """
    return evaluated_line(
        [evaluation.tokens_seen for evaluation in history.evaluations],
        [change.after if change else None for change in changes],
        name=name,
        line=line,
        hover="%{y:.3f}",
        meta=meta,
        texts=texts_of(changes),
    )


def texts_of(changes: Sequence[BitsChange | None]) -> list[tuple[str, ...] | None]:
    """Sources that each change of a language is measured on."""
    return [change.sources if change else None for change in changes]


def _changes(history: History) -> Chart | None:
    before = history.evaluations[0].sources
    changes = [changes_by_source(before, e.sources) for e in history.evaluations]
    colors = source_colors(history)
    figure = new_figure("change since step 0", tickformat=".0%", x_end=_end(history))
    figure.add_trace(_level(history, 0.0))
    for name in _ordered(history, set(before)):
        figure.add_trace(
            evaluated_line(
                [evaluation.tokens_seen for evaluation in history.evaluations],
                [found[name].relative if name in found else None for found in changes],
                name=name,
                line={"color": colors.get(name)},
                hover="%{y:+.1%}",
                meta=source_meta(history, name),
            )
        )
    note = "Change of held-out bits per byte: below the dotted line learned, above it forgotten."
    return new_chart("change", "Learned and forgotten by source", note, figure)


def _together(history: History) -> Chart | None:
    """Held-out loss of all sources, at fixed shares and at the current shares."""
    tokens = [evaluation.tokens_seen for evaluation in history.evaluations]
    first = history.evaluations[0].sources.keys()
    texts = [first & evaluation.sources.keys() for evaluation in history.evaluations]
    fixed = [evaluation.loss_at_fixed_shares for evaluation in history.evaluations]
    current = [evaluation.loss_at_current_shares for evaluation in history.evaluations]
    if all(loss is None for loss in fixed):
        return None
    figure = new_figure("loss, nats per token", x_end=_end(history), legend=True)
    for name, values, meta, dash in (
        ("at fixed shares", fixed, STRONG, "solid"),
        ("at the current shares", current, MUTED, "dash"),
    ):
        figure.add_trace(
            evaluated_line(
                tokens,
                values,
                name=name,
                line={"dash": dash},
                hover="%{y:.3f}",
                meta=meta,
                texts=texts,
            )
        )
    note = (
        "Held-out loss. Fixed: at the final shares of the curriculum, so that only the model "
        "changes it. Current: at the planned shares of the step, which change too."
    )
    return new_chart("together", "Held-out loss of all sources", note, figure)


def _before_and_after(history: History) -> Chart | None:
    if len(history.evaluations) < 2:
        return None
    first, last = history.evaluations[0].sources, history.evaluations[-1].sources
    changes = changes_by_source(first, last)
    names = _ordered(history, set(changes))[::-1]
    colors = source_colors(history)
    figure = new_figure("")
    for line, name in enumerate(names):
        color = colors.get(name)
        figure.add_trace(
            scatter(
                x=[changes[name].before, changes[name].after],
                y=[line, line],
                mode="lines+markers",
                line={"width": 3, "color": color},
                marker={
                    "size": 11,
                    "symbol": ["circle-open", "circle"],
                    "line": {"width": 2.5, "color": color},
                    "color": color,
                },
                text=[f"{display_name(name)}, before", f"{display_name(name)}, after"],
                hovertemplate="%{text}: %{x:.3f} bits per byte<extra></extra>",
                cliponaxis=False,
                meta=source_meta(history, name),
            )
        )
    figure.update_layout(hovermode="closest", hoverdistance=20)
    figure.update_xaxes(title={"text": "bits per byte"}, rangemode="tozero", exponentformat="none")
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[short_name(name) for name in names],
        range=[-0.6, len(names) - 0.4],
        nticks=0,
    )
    step = history.evaluations[-1].step
    is_wide = len(names) > _MAX_NARROW_LINES
    note = f"Held-out bits per byte at step 0 (ring) and at step {step:,} (dot)."
    if left_out := sorted((first.keys() | last.keys()) - changes.keys()):
        note += f" Not evaluated at both: {', '.join(left_out)}."
    return new_chart(
        "before-after",
        "Before and after",
        note,
        figure,
        is_wide,
        height_of_lines(len(names)) if is_wide else None,
    )


def _levels(history: History, changes: Sequence[BitsChange | None], color: str | None) -> Trace:
    """A dotted line at the value of step 0, of the text that each evaluation has in common with it.

    Args:
        history: History of the run.
        changes: Change of a language at each evaluation.
        color: Colour of the language; None for the page's ink.
    """
    tokens = [evaluation.tokens_seen for evaluation in history.evaluations]
    texts = texts_of(changes)
    values = [change.before if change else None for change in changes]
    begins = [i for i, text in enumerate(texts) if not i or text != texts[i - 1]]
    ends = [*(tokens[i] for i in begins[1:]), _end(history)]
    x: list[float | None] = []
    y: list[float | None] = []
    for start, end, index in zip([0, *ends], ends, begins, strict=False):
        x += [start, end, None]
        y += [values[index], values[index], None]
    return _dotted(x[:-1], y[:-1], color)


def _level(history: History, value: float) -> Trace:
    """A dotted line at one value."""
    return _dotted([0, _end(history)], [value, value], None)


def _dotted(x: Sequence[float | None], y: Sequence[float | None], color: str | None) -> Trace:
    return scatter(
        x=x,
        y=y,
        mode="lines",
        line={"width": 1, "dash": "dot", "color": color},
        hoverinfo="skip",
        showlegend=False,
        meta={} if color else MUTED,
    )


def _end(history: History) -> int:
    return int(history.tokens_seen[-1])


def _ordered(history: History, names: set[str]) -> list[str]:
    """Sort names as in the legend; sources that are evaluated but not trained on come last."""
    order = {name: index for index, name in enumerate(history.sources)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))
