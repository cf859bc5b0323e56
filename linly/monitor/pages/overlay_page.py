"""Page that compares several runs, with the same parts in the file and the live page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from markupsafe import Markup

from linly.config.sections.languages import language_name
from linly.files import publish_text
from linly.monitor.charts.colors import run_colors
from linly.monitor.charts.figures import Chart
from linly.monitor.charts.overlay import overlay_charts
from linly.monitor.history.headlines import language_changes
from linly.monitor.history.history import read_history
from linly.monitor.history.named_runs import NamedRun, named_runs
from linly.monitor.number_words import count, percent
from linly.monitor.pages.page import change, chart_cards, legend, page_header, section, table
from linly.monitor.pages.rendering import part
from linly.monitor.pages.standalone import standalone_page
from linly.records.before_after import changes_by_language


def write_comparison(paths: Sequence[Path], output: Path) -> Path:
    """Write a self-contained page that compares runs.

    Raises:
        ConfigError: If there is no run at one of the paths.
        TrainingError: If a run has no step yet, or its logs are damaged.
    """
    runs = named_runs([read_history(path) for path in paths])
    charts = overlay_charts(runs)
    title = f"{' and '.join(run.name for run in runs)} · linly"
    page = standalone_page(title, overlay_parts(runs, charts).values(), charts)
    publish_text(output, page)
    return output


def overlay_parts(runs: Sequence[NamedRun], charts: Sequence[Chart]) -> dict[str, Markup]:
    """Parts of the page by name, in order."""
    colors = run_colors(len(runs))
    entries = [(run.name, colors[index], index) for index, run in enumerate(runs)]
    return {
        "header": page_header(f"{len(runs)} runs", ", ".join(run.name for run in runs)),
        "tiles": section("Runs", _runs(runs)),
        "legend": legend({"": entries}, label="Show or hide runs"),
        "charts": chart_cards(charts),
        "sources": _in_words(runs),
    }


def trade_lines(runs: Sequence[NamedRun]) -> list[str]:
    """Sentences on each run and pair of runs: the learned language gained for the kept one lost."""
    evaluated = [run for run in runs if len(run.history.evaluations) >= 2]
    lines = [_trade_line(run) for run in evaluated]
    for one, other in combinations(evaluated, 2):
        lines += _pair_lines(one, other)
    return lines


def _trade_line(run: NamedRun) -> str:
    """`run: Chinese −31.8%, English +1.8%: 17.7% Chinese gained per 1% English lost`."""
    changes = language_changes(run.history)
    languages = run.history.run_languages
    missing = [language for language in languages.both if language not in changes]
    if missing:
        found = ", ".join(changes) or "none"
        return (
            f"{run.name}: no held-out text in {' and '.join(missing)} to compare (in the run: "
            f"{found}); `languages` in the recipe names the kept and the learned language"
        )
    kept, learned = (language_name(language) for language in languages.both)
    lost, gained = (changes[language] for language in languages.both)
    rate = _rate(learned, -gained.relative, kept, lost.relative)
    return (
        f"{run.name}: {learned} {percent(gained.relative)}{gained.remark}, "
        f"{kept} {percent(lost.relative)}{lost.remark}: {rate}"
    )


def _pair_lines(one: NamedRun, other: NamedRun) -> list[str]:
    """Sentences on the last evaluations of two runs, over the text that both have."""
    first, last = (run.history.evaluations[-1].sources for run in (one, other))
    changes = changes_by_language(first, last)
    languages = {result.language for result in (*first.values(), *last.values())}
    lines = []
    for language in one.history.run_languages.ordered(languages):
        found = changes.get(language)
        figure = "not compared, no held-out text in common"
        if found is not None:
            figure = f"bits per byte {percent(found.relative)}{found.remark}"
        lines.append(f"{other.name} against {one.name}: {language_name(language)} {figure}")
    return lines


def _rate(learned: str, gained: float, kept: str, lost: float) -> str:
    """Improvement in the learned language per loss in the kept one, in words."""
    if gained <= 0:
        return f"no {learned} gained"
    if lost <= 0:
        return f"no {kept} lost"
    return f"{gained / lost:.1f}% {learned} gained per 1% {kept} lost"


def _runs(runs: Sequence[NamedRun]) -> Markup:
    """Last figures of each run."""
    found_languages = {name for run in runs for name in language_changes(run.history)}
    languages = runs[0].history.run_languages.ordered(found_languages)
    heads = ["run", *(f"{language_name(name)}, bits per byte" for name in languages)]
    heads += ["tokens", "steps", "largest drift"]
    lines = []
    for run, color in zip(runs, run_colors(len(runs)), strict=True):
        history, changes = run.history, language_changes(run.history)
        cells: list[str] = [part("swatched")(color, run.name)]
        for name in languages:
            found = changes.get(name)
            if found is None:
                cells.append("–")
                continue
            moved = f"{found.before:.3f} → {found.after:.3f} "
            cells.append(Markup.escape(moved) + change(found.relative) + found.remark)
        cells += [count(int(history.tokens_seen[-1])), f"{int(history.step[-1]):,}"]
        cells.append(f"{history.largest_drift:.2f}")
        lines.append(cells)
    return table(heads, lines)


def _in_words(runs: Sequence[NamedRun]) -> Markup:
    """The sentences of `trade_lines`; empty without any."""
    lines = trade_lines(runs)
    return section("In words", part("bullets")(lines)) if lines else Markup()
