"""Chart of runs: what each gained in one language for what it lost in another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from linly.config.sections.languages import language_name
from linly.monitor.charts.colors import run_colors
from linly.monitor.charts.figures import (
    MUTED,
    Chart,
    Figure,
    new_chart,
    new_figure,
    scatter,
    with_breaks,
)
from linly.monitor.charts.labels import display_name, short_name, spread
from linly.monitor.history.headlines import language_series
from linly.monitor.history.history import History
from linly.monitor.history.named_runs import NamedRun

_PERCENT = ".3~p"
"""Form of a percentage on an axis, in d3's form: 0.5%, 40%."""

_MAX_LABEL, _CHARACTER_PX = 16, 7
_LABEL_HEIGHT = 0.07
"""Share of a plot's height that a line of text takes."""


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


def trade_chart(runs: Sequence[NamedRun]) -> Chart | None:
    """Path of each run: improvement in the learned language against loss in the kept one."""
    kept, learned = _both_names(runs)
    figure = new_figure(f"{learned}: improvement", tickformat=_PERCENT)
    paths: dict[int, _Trade] = {}
    for index, (run, color) in enumerate(zip(runs, run_colors(len(runs)), strict=True)):
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
        tickformat=f"+{_PERCENT}",
        exponentformat=None,
    )
    note = (
        f"Improvement in {learned} against change in {kept}, from the start to the last evaluation "
        "(large dot). Up is learned, right is forgotten."
    )
    return new_chart("all-trade", "Gained and lost", note, figure, is_wide=True)


def _both_names(runs: Sequence[NamedRun]) -> tuple[str, str]:
    """Names of the kept and the learned language, in general words if the runs differ."""
    kept, learned = (
        {language_name(run.history.run_languages.both[index]) for run in runs} for index in (0, 1)
    )
    return (
        kept.pop() if len(kept) == 1 else "kept language",
        learned.pop() if len(learned) == 1 else "learned language",
    )


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
