"""Page that compares several runs, with the same parts in the file and the live page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from markupsafe import Markup

from linly.files import publish_text
from linly.monitor.charts.figures import Chart
from linly.monitor.charts.overlay import NamedRun, named_runs, overlay_charts, run_colors
from linly.monitor.history.headlines import language_changes, language_name
from linly.monitor.history.history import read_history
from linly.monitor.number_words import count, percent
from linly.monitor.pages.page import change, chart_cards, legend, page_header, section, table
from linly.monitor.pages.rendering import part
from linly.monitor.pages.standalone import standalone_page


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
    colors = run_colors([run.name for run in runs])
    entries = [(run.name, colors[index], index) for index, run in enumerate(runs)]
    return {
        "header": page_header(f"{len(runs)} runs", ", ".join(run.name for run in runs)),
        "legend": legend({"": entries}, label="Show or hide runs"),
        "charts": chart_cards(charts),
        "sources": section("Runs", _runs(runs)),
    }


def trade_lines(runs: Sequence[NamedRun]) -> list[str]:
    """Sentences on each run and pair of runs: Chinese gained for English lost."""
    lines = []
    for run in runs:
        changes = language_changes(run.history)
        if "en" in changes and "zh" in changes:
            gained, lost = -changes["zh"].relative, changes["en"].relative
            lines.append(f"{run.name}: Chinese {percent(-gained)}, English {percent(lost)}")
            lines[-1] += f": {_rate(gained, lost)}"
    for one, other in combinations(runs, 2):
        first, second = language_changes(one.history), language_changes(other.history)
        for language in sorted(first.keys() & second.keys()):
            difference = second[language].after / first[language].after - 1
            lines.append(
                f"{other.name} against {one.name}: {language_name(language)} bits per byte "
                f"{percent(difference)}"
            )
    return lines


def _rate(gained: float, lost: float) -> str:
    """Chinese gained per English lost, in words."""
    if gained <= 0:
        return "no Chinese gained"
    if lost <= 0:
        return "no English lost"
    return f"{gained / lost:.1f}% Chinese gained per 1% English lost"


def _runs(runs: Sequence[NamedRun]) -> Markup:
    """Last figures of each run, and the sentences of `trade_lines`."""
    languages = sorted({name for run in runs for name in language_changes(run.history)})
    heads = ["run", "steps", "tokens", "drift"]
    heads += [f"{language_name(name)}, bits per byte" for name in languages]
    lines = []
    for run in runs:
        history, changes = run.history, language_changes(run.history)
        cells = [run.name, f"{int(history.step[-1]):,}", count(int(history.tokens_seen[-1]))]
        cells.append(f"{history.largest_drift:.2f}")
        for name in languages:
            found = changes.get(name)
            if found is None:
                cells.append("–")
                continue
            moved = f"{found.before:.3f} → {found.after:.3f} "
            cells.append(Markup.escape(moved) + change(found.relative))
        lines.append(cells)
    return table(heads, lines) + part("bullets")(trade_lines(runs))
