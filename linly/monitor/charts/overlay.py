"""Several runs in the same charts: a colour per run, a dash per language or group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from linly.config.sections.languages import language_name
from linly.monitor.charts.colors import run_colors
from linly.monitor.charts.evaluation_charts import bits_line
from linly.monitor.charts.figures import Chart, edges, means, new_chart, new_figure, scatter
from linly.monitor.charts.labels import display_name, small_ticks
from linly.monitor.charts.trade_chart import trade_chart
from linly.monitor.history.headlines import language_series
from linly.monitor.history.history import History
from linly.monitor.history.named_runs import NamedRun
from linly.monitor.history.shares import realized_and_planned
from linly.monitor.history.step_columns import Floats
from linly.records.metrics import Line, Metric, metrics_of
from linly.records.step_record import StepRecord

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MAX_POINTS = 100
_SMALL = 1e-3
"""Values below this are written as 2e-5."""


def overlay_charts(runs: Sequence[NamedRun]) -> tuple[Chart, ...]:
    """Charts that compare runs; those without data are left out."""
    charts = (
        trade_chart(runs),
        _languages(runs),
        _series(runs, "all-loss", "Training loss", "loss, nats per token", lambda h: h.loss),
        _groups(runs),
        *(_compared(runs, key, entry) for key, entry in metrics_of(StepRecord).items()),
        _series(runs, "all-lr", "Learning rate", "learning rate", lambda h: h.lr),
    )
    return tuple(chart for chart in charts if chart is not None)


def _languages_of(runs: Sequence[NamedRun]) -> list[str]:
    """Every evaluated language, in the order of the first run."""
    found = {name for run in runs for name in language_series(run.history)}
    return runs[0].history.run_languages.ordered(found)


def _languages(runs: Sequence[NamedRun]) -> Chart | None:
    found = _languages_of(runs)
    if not found:
        return None
    figure = new_figure("bits per byte", x_end=_end(runs))
    for index, (run, color) in enumerate(_colored(runs)):
        series = language_series(run.history)
        for dash, language in zip(DASHES, found, strict=False):
            if language not in series:
                continue
            figure.add_trace(
                bits_line(
                    run.history,
                    series[language],
                    name=f"{run.name}, {language_name(language)}",
                    line={"color": color, "dash": dash},
                    meta={"source": index},
                )
            )
    figure.update_yaxes(rangemode="tozero")
    note = f"Lower is better. {dash_words(map(language_name, found))}"
    return new_chart("all-languages", "Held-out text by language", note, figure)


def _groups(runs: Sequence[NamedRun]) -> Chart | None:
    """Realized share of each group."""
    groups = sorted({group for run in runs for group in run.history.groups})
    figure = new_figure("share of rows", tickformat=".0%", x_end=_end(runs))
    for index, (run, color) in enumerate(_colored(runs)):
        shares = realized_and_planned(run.history)
        for dash, group in zip(DASHES, groups, strict=False):
            members = run.history.groups.get(group, ())
            columns = [run.history.sources.index(name) for name in members]
            if not columns:
                continue
            figure.add_trace(
                scatter(
                    x=(shares.window_tokens[1:] + shares.window_tokens[:-1]) / 2,
                    y=shares.realized[:, columns].sum(axis=1),
                    name=display_name(f"{run.name}, {group}"),
                    mode="lines",
                    line={"width": 1.8, "color": color, "dash": dash},
                    hovertemplate="%{y:.1%}",
                    meta={"source": index},
                )
            )
    figure.update_yaxes(rangemode="tozero")
    return new_chart("all-groups", "Realized share of groups", dash_words(groups), figure)


def _compared(runs: Sequence[NamedRun], key: str, entry: Metric) -> Chart | None:
    """Chart of a metric whose `Line` is compared; None for any other."""
    line = entry.shown
    if not isinstance(line, Line) or not line.is_compared:
        return None
    chart_key = f"all-{key.replace('_', '-')}"
    return _series(runs, chart_key, line.title, entry.unit, lambda history: history.lines[key])


def _series(
    runs: Sequence[NamedRun],
    key: str,
    title: str,
    unit: str,
    values_of: Callable[[History], Floats],
) -> Chart | None:
    """Chart of one number per step, as means over ranges of steps."""
    figure = new_figure(unit, x_end=_end(runs))
    most = 0.0
    for index, (run, color) in enumerate(_colored(runs)):
        values = values_of(run.history)
        if not np.isfinite(values).any():
            continue
        at = edges(run.history.num_steps, _MAX_POINTS)
        figure.add_trace(
            scatter(
                x=run.history.tokens_seen[at[1:] - 1],
                y=means(values, at),
                name=display_name(run.name),
                mode="lines",
                line={"width": 2, "color": color},
                hovertemplate="%{y:.4~g}",
                meta={"source": index},
            )
        )
        most = max(most, float(np.nanmax(values)))
    if 0 < most < _SMALL:
        figure.update_yaxes(**small_ticks(most))
    figure.update_yaxes(rangemode="tozero")
    return new_chart(key, title, f"{unit.capitalize()}.", figure)


def _colored(runs: Sequence[NamedRun]) -> Iterable[tuple[NamedRun, str]]:
    return zip(runs, run_colors(len(runs)), strict=True)


def dash_words(names: Iterable[str]) -> str:
    """Describe the dash of each name in a sentence."""
    words = ("Solid", "dashed", "dotted", "dash-dotted", "long dashes")
    pairs = zip(words, names, strict=False)
    return ", ".join(f"{word}: {name}" for word, name in pairs) + "."


def _end(runs: Sequence[NamedRun]) -> int:
    return max(int(run.history.tokens_seen[-1]) for run in runs)
