"""Tables on standard output: as wide as the terminal, or wide enough for a pipe."""

from __future__ import annotations

from collections.abc import Iterable

_PIPE_WIDTH = 160


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print rows of cells below their headings."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*row)
    width = None if Console().is_terminal else _PIPE_WIDTH
    Console(width=width, highlight=False, markup=False).print(table)
