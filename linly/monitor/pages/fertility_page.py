"""The page of `linly vocab report --plot`: tokens per character before and after, by source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linly.files import publish_text
from linly.monitor.charts.figures import Chart, bar, new_figure, plain
from linly.monitor.charts.labels import display_name, height_of_lines, short_name
from linly.monitor.pages.page import chart_cards, page_header
from linly.monitor.pages.standalone import check_page_file, standalone_page
from linly.tokenization.growth.fertility import SourceReport

_SMALLEST_SHOWN = 0.0005
_BEFORE_COLOR, _AFTER_COLOR = "#9aa5b1", "#b5362b"
_WIDTH = 0.38


def write_fertility_page(reports: Sequence[SourceReport], path: Path) -> None:
    """Write a self-contained page that compares two vocabularies.

    Raises:
        ConfigError: If `path` is not an .html file in an existing folder.
    """
    check_page_file(path)
    title = f"A vocabulary with {reports[0].num_added:,} new pieces"
    names = ", ".join(report.name for report in reports)
    charts = (_tokens_per_character(reports),)
    parts = (page_header(title, names), chart_cards(charts))
    publish_text(path, standalone_page(f"{title} · linly", parts, charts))


def _tokens_per_character(reports: Sequence[SourceReport]) -> Chart:
    lines = reports[::-1]
    figure = new_figure("", legend=True)
    before = [report.before_per_character for report in lines]
    after = [report.after_per_character for report in lines]
    for name, values, words, color, offset in (
        ("before", before, [f"{value:.2f}" for value in before], _BEFORE_COLOR, 0.2),
        ("after", after, [_words(report) for report in lines], _AFTER_COLOR, -0.2),
    ):
        figure.add_trace(
            bar(
                x=values,
                y=[line + offset for line in range(len(lines))],
                orientation="h",
                width=_WIDTH,
                name=name,
                marker={"color": color},
                text=[display_name(text) for text in words],
                textposition="outside",
                cliponaxis=False,
                hovertemplate="%{x:.4f}<extra></extra>",
                meta={},
            )
        )
    figure.update_layout(hovermode="closest", barmode="overlay")
    most = max(*before, *after)
    figure.update_xaxes(
        title={"text": "tokens per character"}, range=[0, 1.3 * most], exponentformat="none"
    )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(lines))),
        ticktext=[short_name(report.name) for report in lines],
        range=[-0.6, len(lines) - 0.4],
        showgrid=False,
        nticks=0,
    )
    note = "Fewer tokens for the same text train and answer faster."
    height = height_of_lines(2 * len(lines))
    return Chart("fertility", "Tokens per character", note, plain(figure), True, height)


def _words(report: SourceReport) -> str:
    """Label of the value after: the value, and the change."""
    return f"{report.after_per_character:.2f}  ({_change(report)})"


def _change(report: SourceReport) -> str:
    if report.num_unchanged == report.documents:
        return "all ids as before"
    if abs(report.saved) < _SMALLEST_SHOWN:
        return f"ids as before in all but {report.documents - report.num_unchanged:,}"
    return f"{-report.saved:+.1%}"
