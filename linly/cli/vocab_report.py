"""The table of `linly vocab report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from linly.tokenization.growth.fertility import SourceReport

_MAX_PIECES = 12
_MOSTLY = 0.5
"""Largest fraction of documents with new pieces at which they are listed one by one."""


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
