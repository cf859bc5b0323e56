"""Several runs in the same charts: a colour per run, a dash per language or group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from linly.config.languages import language_name
from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.evaluation_charts import bits_line, texts_of
from linly.monitor.charts.figures import (
    Chart,
    display_name,
    edges,
    means,
    new_figure,
    plain,
    scatter,
    with_breaks,
)
from linly.monitor.history.headlines import language_series
from linly.monitor.history.history import Floats, History
from linly.monitor.history.shares import realized_and_planned
from linly.records.metrics import Line, Metric, metrics_of
from linly.records.step_record import StepRecord

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MAX_POINTS = 100


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A run with a name that is unique on the page."""

    name: str
    history: History


def named_runs(histories: Sequence[History]) -> tuple[NamedRun, ...]:
    """Name runs by their folders; the parent folder is added if two names are the same."""
    names = [history.name for history in histories]
    return tuple(
        NamedRun(
            name if names.count(name) == 1 else f"{history.path.resolve().parent.name}/{name}",
            history,
        )
        for name, history in zip(names, histories, strict=True)
    )


def run_colors(names: Sequence[str]) -> tuple[str, ...]:
    """One hue per run, in their order."""
    colors = source_colors({f"{index:04d}": [str(index)] for index in range(len(names))})
    return tuple(colors[str(index)] for index in range(len(names)))


def overlay_charts(runs: Sequence[NamedRun]) -> tuple[Chart, ...]:
    """Charts that compare runs; those without data are left out."""
    charts = (
        _trade(runs),
        _languages(runs),
        _groups(runs),
        _series(runs, "all-loss", "Training loss", "loss, nats per token", lambda h: h.loss),
        *(_compared(runs, key, entry) for key, entry in metrics_of(StepRecord).items()),
        _series(
            runs, "all-lr", "Learning rate", "learning rate", lambda h: h.lr, exponentformat="e"
        ),
    )
    return tuple(chart for chart in charts if chart is not None)


def _both_names(runs: Sequence[NamedRun]) -> tuple[str, str]:
    """Names of the kept and the learned language, in general words if the runs differ."""
    kept, learned = (
        {language_name(run.history.run_languages.both[index]) for run in runs} for index in (0, 1)
    )
    return (
        kept.pop() if len(kept) == 1 else "Kept language",
        learned.pop() if len(learned) == 1 else "Learned language",
    )


def _languages_of(runs: Sequence[NamedRun]) -> list[str]:
    """Every evaluated language, in the order of the first run."""
    found = {name for run in runs for name in language_series(run.history)}
    return runs[0].history.run_languages.ordered(found)


def _trade(runs: Sequence[NamedRun]) -> Chart | None:
    """Path of each run: improvement in the learned language against loss in the kept one."""
    kept, learned = _both_names(runs)
    figure = new_figure(f"{learned}: improvement", tickformat=".0%")
    for index, (run, color) in enumerate(_colored(runs)):
        both = run.history.run_languages.both
        series = language_series(run.history)
        if len(run.history.evaluations) < 2 or not series.keys() >= {*both}:
            continue
        lost, gained = (series[language] for language in both)
        steps = [evaluation.step for evaluation in run.history.evaluations]
        x, y, steps, sizes = with_breaks(
            list(zip(texts_of(lost), texts_of(gained), strict=True)),
            [change.relative if change else None for change in lost],
            [-change.relative if change else None for change in gained],
            steps,
            [5] * (len(steps) - 1) + [11],
        )
        own = [language_name(language) for language in both]
        figure.add_trace(
            scatter(
                x=x,
                y=y,
                name=display_name(run.name),
                mode="lines+markers",
                line={"width": 1.8, "color": color},
                marker={"size": sizes, "color": color},
                customdata=steps,
                hovertemplate=(
                    f"{display_name(run.name)}, step %{{customdata}}: "
                    f"{own[1]} %{{y:.1%}} better, {own[0]} %{{x:+.1%}}<extra></extra>"
                ),
                cliponaxis=False,
                meta={"source": index},
            )
        )
    if not figure.data:
        return None
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(
        title={"text": f"{kept}: change of bits per byte"},
        tickformat="+.1%",
        exponentformat=None,
    )
    note = (
        f"{learned} improvement against {kept} change, from the start to the last evaluation "
        "(large dot). Up is learned, right is forgotten."
    )
    return Chart("all-trade", "Gained and lost", note, plain(figure), is_wide=True)


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
    return Chart("all-languages", "Held-out text by language", note, plain(figure))


def _groups(runs: Sequence[NamedRun]) -> Chart:
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
    return Chart("all-groups", "Realized share of groups", dash_words(groups), plain(figure))


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
    *,
    exponentformat: str = "B",
) -> Chart | None:
    """Chart of one number per step, as means over ranges of steps."""
    figure = new_figure(unit, x_end=_end(runs))
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
    if not figure.data:
        return None
    figure.update_yaxes(rangemode="tozero", exponentformat=exponentformat)
    return Chart(key, title, f"{unit.capitalize()}.", plain(figure))


def _colored(runs: Sequence[NamedRun]) -> Iterable[tuple[NamedRun, str]]:
    return zip(runs, run_colors([run.name for run in runs]), strict=True)


def dash_words(names: Iterable[str]) -> str:
    """Describe the dash of each name in a sentence."""
    words = ("Solid", "dashed", "dotted", "dash-dotted", "long dashes")
    pairs = zip(words, names, strict=False)
    return ", ".join(f"{word}: {name}" for word, name in pairs) + "."


def _end(runs: Sequence[NamedRun]) -> int:
    return max(int(run.history.tokens_seen[-1]) for run in runs)
