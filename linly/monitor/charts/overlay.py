"""Several runs in the same charts: a colour per run, a dash per language or group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linly.config.languages import language_name
from linly.monitor.charts.colors import run_colors
from linly.monitor.charts.evaluation_charts import bits_line
from linly.monitor.charts.figures import (
    MUTED,
    Chart,
    Figure,
    display_name,
    edges,
    means,
    new_chart,
    new_figure,
    scatter,
    short_name,
    small_ticks,
    spread,
    with_breaks,
)
from linly.monitor.history.headlines import language_series
from linly.monitor.history.history import History
from linly.monitor.history.shares import realized_and_planned
from linly.monitor.history.step_columns import Floats
from linly.records.metrics import Line, Metric, metrics_of
from linly.records.step_record import StepRecord

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MAX_POINTS = 100
_SMALL = 1e-3
"""Values below this are written as 2e-5."""

_MAX_LABEL, _CHARACTER_PX = 16, 7
_CHANGE = "+.3~p"
"""Form of a relative change on an axis: +0.5%, +40%."""

_LABEL_HEIGHT = 0.07
"""Share of a plot's height that a line of text takes."""


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


def overlay_charts(runs: Sequence[NamedRun]) -> tuple[Chart, ...]:
    """Charts that compare runs; those without data are left out."""
    charts = (
        _trade(runs),
        _languages(runs),
        _series(runs, "all-loss", "Training loss", "loss, nats per token", lambda h: h.loss),
        _groups(runs),
        *(_compared(runs, key, entry) for key, entry in metrics_of(StepRecord).items()),
        _series(runs, "all-lr", "Learning rate", "learning rate", lambda h: h.lr),
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
    figure = new_figure(f"{learned}: improvement", tickformat=_CHANGE)
    paths: dict[int, _Trade] = {}
    for index, (run, color) in enumerate(_colored(runs)):
        path = _trade_of(run.history)
        if path is None:
            continue
        paths[index] = path
        own = [language_name(language) for language in run.history.run_languages.both]
        figure.add_trace(
            scatter(
                x=path.lost,
                y=path.gained,
                name=display_name(run.name),
                mode="lines+markers",
                line={"width": 1.8, "color": color},
                marker={"size": path.sizes, "color": color},
                customdata=path.steps,
                hovertemplate=(
                    f"{display_name(run.name)}, step %{{customdata}}: "
                    f"{own[1]} %{{y:.1%}} better, {own[0]} %{{x:+.1%}}<extra></extra>"
                ),
                cliponaxis=False,
                meta={"source": index},
            )
        )
    if not paths:
        return None
    _label_ends(figure, runs, paths)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(
        title={"text": f"{kept}: change of bits per byte"},
        tickformat=_CHANGE,
        exponentformat=None,
    )
    note = (
        f"{learned} improvement against {kept} change, from the start to the last evaluation "
        "(large dot). Up is learned, right is forgotten."
    )
    return new_chart("all-trade", "Gained and lost", note, figure, is_wide=True)


@dataclass(frozen=True, slots=True)
class _Trade:
    """Path of a run from its start to its last evaluation with both languages; None is a break.

    Attributes:
        lost: Change of the kept language since step 0; positive is forgotten.
        gained: Improvement of the learned language.
        steps: Step of each evaluation.
        sizes: Diameter of its mark in pixels.
    """

    lost: Sequence[float | None]
    gained: Sequence[float | None]
    steps: Sequence[int | None]
    sizes: Sequence[int | None]

    @property
    def end(self) -> tuple[float, float]:
        """(lost, gained) at the end."""
        lost, gained = self.lost[-1], self.gained[-1]
        assert lost is not None and gained is not None
        return lost, gained


def _trade_of(history: History) -> _Trade | None:
    """Path of a run; None without two evaluations of both languages."""
    both = history.run_languages.both
    series = language_series(history)
    if not series.keys() >= {*both}:
        return None
    known = [
        (step, lost, gained)
        for step, lost, gained in zip(
            [evaluation.step for evaluation in history.evaluations],
            *(series[language] for language in both),
            strict=True,
        )
        if lost is not None and gained is not None
    ]
    if len(known) < 2:
        return None
    return _Trade(
        *with_breaks(
            [(lost.sources, gained.sources) for _, lost, gained in known],
            [lost.relative for _, lost, _ in known],
            [-gained.relative for _, _, gained in known],
            [step for step, _, _ in known],
            [5] * (len(known) - 1) + [11],
        )
    )


def _label_ends(figure: Figure, runs: Sequence[NamedRun], paths: Mapping[int, _Trade]) -> None:
    """Write the name of each run next to the plot, with a line from the end of its path.

    The names are moved apart, so the axes have fixed ranges.
    """
    left, right = _range([value for path in paths.values() for value in path.lost])
    low, high = _range([value for path in paths.values() for value in path.gained])
    colors = run_colors(len(runs))
    order = sorted(paths, key=lambda index: paths[index].end[1])
    wanted = [(paths[index].end[1] - low) / (high - low) for index in order]
    for index, height in zip(order, spread(wanted, _LABEL_HEIGHT), strict=True):
        x_end, y_end = paths[index].end
        figure.add_trace(
            scatter(
                x=[x_end, right],
                y=[y_end, low + height * (high - low)],
                mode="lines+text",
                line={"width": 1, "dash": "dot", "color": colors[index]},
                text=["", f" {short_name(runs[index].name, _MAX_LABEL)}"],
                textposition="middle right",
                cliponaxis=False,
                hoverinfo="skip",
                meta={"source": index},
            )
        )
    for x, y in (([0, 0], [low, high]), ([left, right], [0, 0])):
        figure.add_trace(
            scatter(x=x, y=y, mode="lines", line={"width": 1}, hoverinfo="skip", meta=MUTED)
        )
    longest = max(len(runs[index].name) for index in order)
    figure.update_layout(margin={"r": 20 + _CHARACTER_PX * min(longest, _MAX_LABEL)})
    figure.update_xaxes(range=[left, right])
    figure.update_yaxes(range=[low, high])


def _range(values: Iterable[float | None]) -> tuple[float, float]:
    """Range of an axis that contains the known values and 0."""
    known = [value for value in values if value is not None]
    low, high = min(0.0, *known), max(0.0, *known)
    room = 0.06 * (high - low) or 0.01
    return low - room, high + room


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
