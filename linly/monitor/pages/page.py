"""Parts of a run's page as HTML, for the report and the live page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from markupsafe import Markup

from linly.files import read_limited
from linly.monitor.charts.colors import language_colors, source_colors
from linly.monitor.charts.data_charts import fill_since_start
from linly.monitor.charts.figures import Chart
from linly.monitor.history.decisions import told
from linly.monitor.history.headlines import headlines, source_changes
from linly.monitor.history.history import History, Sample
from linly.monitor.number_words import count, percent
from linly.monitor.pages.exam_card import exam_card
from linly.monitor.pages.rendering import part

MAX_YAML_BYTES = 1 << 20
MAX_EVENTS = 300
MAX_ALARMS = 20
MAX_PROMPTS = 12
MAX_REASONS = 50


def page_parts(history: History, charts: Sequence[Chart]) -> dict[str, Markup]:
    """Parts of a run's page by name, in order; an empty text for a part without content."""
    return {
        "header": _header(history),
        "alarms": _alarms(history),
        "tiles": part("tiles")(headlines(history), language_colors(history)),
        "legend": _legend(history),
        "charts": chart_cards(charts),
        "exams": exam_card(history.path),
        "sources": _sources(history),
        "decisions": _decisions(history),
        "samples": _samples(history.samples),
        "quarantine": _quarantine(history),
        "record": _record(history),
    }


def _header(history: History) -> Markup:
    planned = history.total_tokens
    state = f"step {int(history.step[-1]):,}"
    if history.is_finished:
        state = f"finished, {state}"
    elif planned:
        state = f"{int(history.tokens_seen[-1]) / planned:.0%} of the plan, {state}"
    curriculum = f"curriculum {history.curriculum.name} · " if history.curriculum else ""
    skipped = int(history.skipped.sum())
    skips = f" · {skipped} skipped update{'s' if skipped != 1 else ''}" if skipped else ""
    return page_header(history.name, f"{curriculum}{state}{skips}")


def page_header(title: str, line: str) -> Markup:
    """Title of a page, and a line below it."""
    return part("header")(title, line)


def _alarms(history: History) -> Markup:
    """Alarms, newest first; empty without any."""
    alarms = [event for event in history.events if event.kind == "alarm"]
    lines = [(event.step, event.text) for event in reversed(alarms[-MAX_ALARMS:])]
    return part("alarms")(lines, "Alarms")


def warning_list(lines: Iterable[str]) -> Markup:
    """List of warnings; empty without any."""
    return part("alarms")([(None, line) for line in lines], "Warnings")


def _legend(history: History) -> Markup:
    """One legend for all charts, by group."""
    colors = source_colors(history)
    column = {source: index for index, source in enumerate(history.sources)}
    return legend(
        {
            group: [(name, colors[name], column[name]) for name in names]
            for group, names in history.groups.items()
        },
        label="Show or hide sources",
    )


def legend(groups: Mapping[str, Sequence[tuple[str, str, int]]], *, label: str) -> Markup:
    """Buttons that hide their lines in every chart.

    Args:
        groups: (name, colour, number in a trace's `meta`) of the buttons, by group.
        label: Description of the buttons for screen readers.
    """
    return part("legend")(groups, label)


def chart_cards(charts: Iterable[Chart]) -> Markup:
    """One empty card per chart by section, into which the page's script draws."""
    cards = part("chart_cards")
    by_section = groupby(charts, key=lambda chart: chart.section)
    return Markup().join(cards(section, list(found)) for section, found in by_section)


def _sources(history: History) -> Markup:
    """Table of all numbers of every source; the last columns need a second evaluation."""
    colors = source_colors(history)
    changes = source_changes(history)
    num_rows = max(1, int(history.rows[-1].sum()))
    num_supervised = max(1, int(history.supervised_tokens[-1].sum()))
    fill = fill_since_start(history)
    lines = []
    for index, name in enumerate(history.sources):
        rows = int(history.rows[-1, index])
        supervised = int(history.supervised_tokens[-1, index])
        cells: list[str] = [
            part("swatched")(colors[name], name),
            f"{rows:,}",
            count(rows * history.row_length),
            f"{rows / num_rows:.1%}",
            f"{supervised / num_supervised:.1%}",
            f"{fill[index]:.1%}" if rows else "–",
            f"{max(abs(history.drift[:, index])):.2f}",
        ]
        if changes:
            found = changes.get(name)
            cells.append(f"{found.before:.3f}" if found else "–")
            cells.append(f"{found.after:.3f}" if found else "–")
            cells.append(change(found.relative) if found else "–")
        lines.append(cells)
    heads = ["source", "rows", "tokens", "share of rows", "share of loss", "filled"]
    heads.append("largest drift")
    note = (
        "Share of loss: share of the supervised tokens; masked prompts do not count. Filled: "
        "fraction of the positions of its rows; the rest is padding. Drift in rows."
    )
    if changes:
        heads += ["bits per byte before", "after", "change"]
        note += " Bits per byte of held-out documents."
    if not history.quarantined:
        note += " No record was bad."
    return section("Sources", table(heads, lines), note=note)


def _decisions(history: History) -> Markup:
    """Table of the decisions about later rows during the run."""
    decisions = told(history.decisions, history.events)
    if not decisions:
        return Markup()
    lines = [(event.kind, event.text, f"{event.step:,}") for event in decisions[-MAX_EVENTS:]]
    note = "Each applies from the first row after its step; the mixture's chart marks it."
    listed = table(("kind", "what", "after step"), lines, num_text=2)
    return section("Decisions", listed, note=note)


def change(relative: float) -> Markup:
    """A relative change of bits per byte, toned as good or bad."""
    return part("toned")(percent(relative), "good" if relative <= 0 else "bad")


def _samples(samples: Sequence[Sample]) -> Markup:
    """First and last completion of each prompt."""
    prompts: dict[str, list[Sample]] = {}
    for sample in samples:
        prompts.setdefault(sample.prompt, []).append(sample)
    ends = {prompt: [*written[:1], *written[1:][-1:]] for prompt, written in prompts.items()}
    shown = {
        prompt: [sample for sample in written if sample.text.strip()]
        for prompt, written in list(ends.items())[:MAX_PROMPTS]
    }
    answered = {prompt: written for prompt, written in shown.items() if written}
    if not answered:
        return Markup()
    num_silent = len(shown) - len(answered)
    prompts_were = "prompts were" if num_silent != 1 else "prompt was"
    note = f"{num_silent} more {prompts_were} answered with no text." if num_silent else ""
    return section("Samples", part("samples")(answered), note=note)


def _quarantine(history: History) -> Markup:
    if not history.quarantined:
        return Markup()
    worst = sorted(history.quarantined.items(), key=lambda item: (-item[1], item[0]))
    lines = [(source, why, f"{number:,}") for (source, why), number in worst[:MAX_REASONS]]
    total = sum(history.quarantined.values())
    note = f"{total:,} bad record{'s were' if total != 1 else ' was'} left out and logged."
    listed = table(("source", "reason", "records"), lines, num_text=2)
    return section("Quarantine", listed, note=note)


def _events(history: History) -> Markup:
    if not history.events:
        return Markup()
    lines = [(event.kind, event.text, f"{event.step:,}") for event in history.events[-MAX_EVENTS:]]
    left_out = len(history.events) - len(lines)
    title = f"Events ({len(history.events):,}{f', the last {MAX_EVENTS}' if left_out else ''})"
    return details(title, table(("kind", "what", "step"), lines, num_text=2))


def _record(history: History) -> Markup:
    parts = [_events(history)]
    for name in ("curriculum", "recipe"):
        file = history.path / f"{name}.yaml"
        if file.is_file():
            content = read_limited(file, limit_bytes=MAX_YAML_BYTES).decode("utf-8", "replace")
            parts.append(details(f"{name.capitalize()}", part("preformatted")(content)))
    for title, heads, values in (
        ("Versions", ("package", "version"), history.versions),
        ("Machine", ("property", "value"), history.machine),
    ):
        if values:
            lines = [(key, _value(value)) for key, value in values.items()]
            parts.append(details(title, table(heads, lines, num_text=2)))
    return section("Record", Markup().join(parts))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value)
    return str(value)


def section(title: str, body: Markup, *, note: str = "") -> Markup:
    """A titled part with an optional note."""
    return part("section")(title, note, body)


def details(title: str, body: Markup) -> Markup:
    """A part that a click on its title opens."""
    return part("details")(title, body)


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], *, num_text: int = 1) -> Markup:
    """A table; columns after the first `num_text` hold numbers."""
    return part("table")(heads, lines, num_text)
