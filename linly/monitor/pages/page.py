"""Parts of a run's page as HTML, for the report and the live page.

Every name and text of a run is escaped by `text`, so that a source named like a script tag is shown
as text.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from linly.files import read_limited
from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.data_charts import fill_since_start
from linly.monitor.charts.figures import Chart
from linly.monitor.history.decisions import told
from linly.monitor.history.headlines import Headline, headlines, source_changes
from linly.monitor.history.history import History, Sample
from linly.monitor.number_words import count, percent

MAX_YAML_BYTES = 1 << 20
MAX_EVENTS = 300
MAX_ALARMS = 20
MAX_PROMPTS = 12
MAX_REASONS = 50


def page_parts(history: History, charts: Sequence[Chart]) -> dict[str, str]:
    """Parts of a run's page by name, in order; an empty text for a part without content."""
    return {
        "header": _header(history),
        "alarms": _alarms(history),
        "tiles": _tiles(headlines(history)),
        "legend": _legend(history),
        "charts": chart_cards(charts),
        "sources": _sources(history),
        "decisions": _decisions(history),
        "samples": _samples(history.samples),
        "quarantine": _quarantine(history),
        "record": _record(history),
    }


def text(value: object) -> str:
    """Escape any value as text of the page."""
    return html.escape(str(value))


def asset(name: str) -> str:
    """Read a script or style sheet of the pages."""
    return (resources.files("linly.monitor") / "assets" / name).read_text(encoding="utf-8")


def _header(history: History) -> str:
    planned = history.total_tokens
    seen = int(history.tokens_seen[-1])
    per_step = seen / int(history.step[-1])
    state = f"step {int(history.step[-1]):,}"
    if planned:
        is_done = planned - seen < per_step
        state = f"finished, {state}" if is_done else f"{seen / planned:.0%} of the plan, {state}"
    curriculum = f"curriculum {history.curriculum.name} · " if history.curriculum else ""
    skipped = int(history.skipped.sum())
    skips = f" · {skipped} skipped update{'s' if skipped != 1 else ''}" if skipped else ""
    return page_header(history.name, f"{curriculum}{state}{skips}")


def page_header(title: str, line: str) -> str:
    """Title of a page, and a line below it."""
    return f"<header><h1>{text(title)}</h1><p>{text(line)}</p></header>"


def _alarms(history: History) -> str:
    """Alarms, newest first; empty without any."""
    alarms = [event for event in history.events if event.kind == "alarm"]
    lines = [
        f'<li><span class="step">step {event.step:,}</span> {text(event.text)}</li>'
        for event in reversed(alarms[-MAX_ALARMS:])
    ]
    return alarm_list(lines)


def alarm_list(lines: Sequence[str]) -> str:
    """List of alarms, each already HTML; empty without any."""
    if not lines:
        return ""
    return f'<section class="alarms" aria-label="Alarms"><ul>{"".join(lines)}</ul></section>'


def _tiles(figures: Sequence[Headline]) -> str:
    tiles = (
        f'<div class="tile"><div class="label">{text(figure.label)}</div>'
        f'<div class="value">{text(figure.value)}</div>'
        f'<div class="detail {figure.tone}">{text(figure.detail)}</div></div>'
        for figure in figures
    )
    return f'<section class="tiles" aria-label="Headline figures">{"".join(tiles)}</section>'


def _legend(history: History) -> str:
    """One legend for all charts, by group."""
    colors = source_colors(history.groups)
    column = {source: index for index, source in enumerate(history.sources)}
    return legend(
        {
            group: [(name, colors[name], column[name]) for name in names]
            for group, names in history.groups.items()
        },
        label="Show or hide sources",
    )


def legend(groups: Mapping[str, Sequence[tuple[str, str, int]]], *, label: str) -> str:
    """Buttons that hide their lines in every chart.

    Args:
        groups: (name, colour, number in a trace's `meta`) of the buttons, by group.
        label: Description of the buttons for screen readers.
    """
    parts = []
    for group, entries in groups.items():
        if group:
            parts.append(f'<span class="group">{text(group)}</span>')
        parts += [
            f'<button type="button" aria-pressed="true" data-source="{number}">'
            f"{_swatch(color)}{text(name)}</button>"
            for name, color, number in entries
        ]
    return f'<nav class="legend" aria-label="{text(label)}">{"".join(parts)}</nav>'


def _swatch(color: str) -> str:
    return f'<span class="swatch" style="background:{color}"></span>'


def chart_cards(charts: Iterable[Chart]) -> str:
    """One empty card per chart, into which the page's script draws."""
    cards = (
        f'<section class="card{" wide" if chart.is_wide else ""}"><h3>{text(chart.title)}</h3>'
        f'<p class="note">{text(chart.note)}</p>'
        f'<div class="plot" id="plot-{chart.key}" role="img" aria-label="{text(chart.title)}"'
        f"{_height(chart)}></div></section>"
        for chart in charts
    )
    return f'<div class="charts">{"".join(cards)}</div>'


def _height(chart: Chart) -> str:
    """Style attribute for a chart whose height is not the usual one."""
    return f' style="height:{chart.height_px}px"' if chart.height_px else ""


def _sources(history: History) -> str:
    """Table of all numbers of every source."""
    colors = source_colors(history.groups)
    changes = source_changes(history)
    num_rows = max(1, int(history.rows[-1].sum()))
    num_supervised = max(1, int(history.supervised_tokens[-1].sum()))
    fill = fill_since_start(history)
    lines = []
    for index, name in enumerate(history.sources):
        change = changes.get(name)
        rows = int(history.rows[-1, index])
        supervised = int(history.supervised_tokens[-1, index])
        lines.append(
            (
                f"{_swatch(colors[name])}{text(name)}",
                f"{rows:,}",
                count(rows * history.row_length),
                f"{rows / num_rows:.1%}",
                f"{supervised / num_supervised:.1%}",
                f"{fill[index]:.1%}" if rows else "–",
                f"{max(abs(history.drift[:, index])):.2f}",
                f"{change.before:.3f}" if change else "–",
                f"{change.after:.3f}" if change else "–",
                _change(change.relative) if change else "–",
            )
        )
    heads = (
        "source",
        "rows",
        "tokens",
        "share of rows",
        "share of loss",
        "filled",
        "largest drift",
        "bits per byte before",
        "after",
        "change",
    )
    note = (
        "Share of loss: share of the supervised tokens; masked prompts do not count. Filled: "
        "fraction of the positions of its rows; the rest is padding. Drift in rows. Bits per byte "
        "of held-out documents."
    )
    return section("Sources", f'<p class="note">{note}</p>{table(heads, lines)}')


def _decisions(history: History) -> str:
    """Table of the decisions about later rows during the run."""
    decisions = told(history.decisions, history.events)
    if not decisions:
        return ""
    lines = [
        (text(event.kind), text(event.text), f"{event.step:,}") for event in decisions[-MAX_EVENTS:]
    ]
    note = "Each applies from the first row after its step; the mixture's chart marks it."
    listed = table(("kind", "what", "after step"), lines, num_text=2)
    return section("Decisions", f'<p class="note">{note}</p>{listed}')


def _change(relative: float) -> str:
    tone = "good" if relative <= 0 else "bad"
    return f'<span class="{tone}">{percent(relative)}</span>'


def _samples(samples: Sequence[Sample]) -> str:
    """First and last completion of each prompt."""
    prompts: dict[str, list[Sample]] = {}
    for sample in samples:
        prompts.setdefault(sample.prompt, []).append(sample)
    cards = []
    for prompt, written in list(prompts.items())[:MAX_PROMPTS]:
        shown = written if len(written) < 2 else (written[0], written[-1])
        texts = "".join(
            f'<div class="step">step {sample.step:,}</div>'
            f'<blockquote dir="auto">{text(sample.text)}</blockquote>'
            for sample in shown
        )
        cards.append(
            f'<div class="card sample"><div class="prompt" dir="auto">{text(prompt)}</div>'
            f"{texts}</div>"
        )
    if not cards:
        return ""
    return section("Samples", f'<div class="samples">{"".join(cards)}</div>')


def _quarantine(history: History) -> str:
    if not history.quarantined:
        return section("Quarantine", '<p class="note">No record was bad.</p>')
    worst = sorted(history.quarantined.items(), key=lambda item: (-item[1], item[0]))
    lines = [(text(s), text(why), f"{number:,}") for (s, why), number in worst[:MAX_REASONS]]
    total = sum(history.quarantined.values())
    note = f"{total:,} bad record{'s were' if total != 1 else ' was'} left out and logged."
    listed = table(("source", "reason", "records"), lines, num_text=2)
    return section("Quarantine", f'<p class="note">{note}</p>{listed}')


def _events(history: History) -> str:
    if not history.events:
        return ""
    lines = [
        (text(event.kind), text(event.text), f"{event.step:,}")
        for event in history.events[-MAX_EVENTS:]
    ]
    left_out = len(history.events) - len(lines)
    title = f"Events ({len(history.events):,}{f', the last {MAX_EVENTS}' if left_out else ''})"
    return details(title, table(("kind", "what", "step"), lines, num_text=2))


def _record(history: History) -> str:
    parts = [_events(history)]
    for name in ("curriculum", "recipe"):
        file = history.path / f"{name}.yaml"
        if file.is_file():
            content = read_limited(file, limit_bytes=MAX_YAML_BYTES).decode("utf-8", "replace")
            parts.append(details(f"{name.capitalize()}", f"<pre>{text(content)}</pre>"))
    for title, values in (("Versions", history.versions), ("Machine", history.machine)):
        if values:
            lines = [(text(key), _value(value)) for key, value in values.items()]
            parts.append(details(title, table((title.lower(), ""), lines, num_text=2)))
    return section("Record", "".join(parts))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return text(", ".join(f"{key} {entry}" for key, entry in value.items()))
    if isinstance(value, list | tuple):
        return text(", ".join(str(entry) for entry in value))
    return text(value)


def section(title: str, body: str) -> str:
    """A titled part; `body` is already HTML."""
    return f"<section><h2>{text(title)}</h2>{body}</section>"


def details(title: str, body: str) -> str:
    """A part that a click on its title opens; `body` is already HTML."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], *, num_text: int = 1) -> str:
    """A table of cells that are already HTML; columns after the first `num_text` hold numbers."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="{"number" if index >= num_text else "name" if index == 0 else ""}">'
            f"{cell}</{tag}>"
            for index, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in lines)
    head = f"<thead><tr>{row([text(head) for head in heads], 'th')}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'
