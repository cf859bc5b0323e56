"""The table and the chart of `linly vocab report`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from linly.errors import ConfigError
from linly.files import publish
from linly.tokenization.growth.fertility import SourceReport

_MAX_PIECES = 12
_MOSTLY = 0.5
"""Largest fraction of documents with new pieces at which they are listed one by one."""

_SMALLEST_SHOWN = 0.0005
_BEFORE_COLOR, _AFTER_COLOR = "#9aa5b1", "#b5362b"
_SUFFIXES = (".png", ".svg")


def show(reports: Sequence[SourceReport]) -> None:
    """Print one line per source, then the advice and the number of unchanged documents."""
    from rich.console import Console
    from rich.table import Table

    table = Table("source", box=None)
    for column in (
        "documents",
        "tokens/character",
        "tokens/byte",
        "byte fallback",
        "new pieces used",
        "same ids",
    ):
        table.add_column(column, justify="right")
    for report in reports:
        table.add_row(
            report.name,
            f"{report.documents:,}",
            f"{report.before_per_character:.3f} -> {report.after_per_character:.3f}",
            f"{_share(report.before.tokens, report.size_bytes):.3f} -> "
            f"{_share(report.after.tokens, report.size_bytes):.3f}",
            f"{_share(report.before.byte_tokens, report.before.tokens):.1%} -> "
            f"{_share(report.after.byte_tokens, report.after.tokens):.1%}",
            f"{report.added_used:,} of {report.num_added:,}",
            f"{report.num_unchanged:,}",
        )
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for report in reports:
        print(f"{report.name}: {report.advice()}; {_unchanged(report)}")
    _show_touched(reports)


def _unchanged(report: SourceReport) -> str:
    without = report.documents - report.num_with_added
    if not without:
        return "every document contains a new piece"
    if not report.num_unexplained:
        return f"all {without:,} documents without a new piece keep their ids"
    return (
        f"{report.num_unexplained:,} of {without:,} documents without a new piece changed their ids"
    )


def _show_touched(reports: Sequence[SourceReport]) -> None:
    """Print the documents with new pieces, for sources of which most documents keep their ids.

    In other sources most documents have new pieces; the JSON lists them all.
    """
    for report in reports:
        total = report.num_with_added + report.num_unexplained
        if not total or total > _MOSTLY * report.documents:
            continue
        print(f"{report.name}: documents with new pieces, or changed without: {total:,}")
        for document in report.touched:
            pieces = " ".join(document.pieces[:_MAX_PIECES]) or "CHANGED WITHOUT A NEW PIECE"
            more = len(document.pieces) - _MAX_PIECES
            pieces += f" and {more:,} more" if more > 0 else ""
            print(f"  {document.shard}, record {document.record}: {pieces}")
        if total > len(report.touched):
            print(f"  and {total - len(report.touched):,} more (--json lists all)")


def print_json(reports: Sequence[SourceReport]) -> None:
    """Print all figures and every touched document."""
    import orjson

    form = [
        {
            **asdict(report),
            "before_per_character": report.before_per_character,
            "after_per_character": report.after_per_character,
            "advice": report.advice(),
        }
        for report in reports
    ]
    print(orjson.dumps(form, option=orjson.OPT_INDENT_2).decode())


def _share(part: int, whole: int) -> float:
    return part / max(1, whole)


def draw(reports: Sequence[SourceReport], path: Path) -> None:
    """Draw tokens per character of every source, before and after.

    Raises:
        ConfigError: If the suffix is unknown, or matplotlib is not installed.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"plot: found {path.name!r}, allowed {' or '.join(_SUFFIXES)}")
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError("a chart needs matplotlib: pip install 'linly[monitor]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.65 * len(reports)), layout="constrained")
    places = range(len(reports))
    kinds = (("before", _BEFORE_COLOR, -0.2), ("after", _AFTER_COLOR, 0.2))
    for kind, color, offset in kinds:
        bars = axes.barh(
            [place + offset for place in places],
            [_per_character(report, kind) for report in reports],
            height=0.38,
            color=color,
            label=kind,
        )
        axes.bar_label(bars, labels=_labels(reports, kind), padding=4, fontsize=9)
    axes.set_yticks(list(places), [report.name for report in reports])
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("tokens per character")
    num_added = reports[0].num_added
    figure.suptitle(f"A vocabulary with {num_added:,} new pieces", fontsize=12)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix("."), dpi=150)
    pyplot.close(figure)
    publish(path, picture.getvalue())


def _per_character(report: SourceReport, kind: str) -> float:
    return report.before_per_character if kind == "before" else report.after_per_character


def _labels(reports: Sequence[SourceReport], kind: str) -> list[str]:
    """Return the labels of the bars: the value, and the change."""
    if kind == "before":
        return [f"{report.before_per_character:.2f}" for report in reports]
    return [f"{report.after_per_character:.2f}  ({_change(report)})" for report in reports]


def _change(report: SourceReport) -> str:
    if report.num_unchanged == report.documents:
        return "all ids as before"
    if abs(report.saved) < _SMALLEST_SHOWN:
        return f"ids as before in all but {report.documents - report.num_unchanged:,}"
    return f"{-report.saved:+.1%}"
