"""Guesses the form of a table from its first rows: the delimiter, and whether there is a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from linly.data.guessing.known_names import KNOWN_NAMES, plain_name

_DELIMITERS = (",", ";", "\t", "|")
_DELIMITER_LINE = re.compile(r'"?sep=([^"\n])"?\r?(\n|$)', re.IGNORECASE)
_MAX_ROWS = 50
_MIN_SHARE = 0.9
_MAX_HEADER = 64
_LONGER = 3
"""Ratio of a data cell's length to its column name's that suggests a header."""

_NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d\s*%?\s*")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]{0,31}", re.ASCII)
_SENTENCE = re.compile(r"[.!?。！？…,，;；、\"“”]")


@dataclass(frozen=True, slots=True)
class Table:
    """Form of a table, guessed from its first rows.

    Attributes:
        delimiter: Character between the cells.
        escape: Backslash if it escapes the character after it, else None.
        rows: First rows, all of one width, including the header if there is one.
        has_header: Whether the first row names the columns.
    """

    delimiter: str
    escape: str | None
    rows: tuple[tuple[str, ...], ...]
    has_header: bool


def look_at_table(head: str, *, is_quoted: bool) -> Table:
    """Guess from the first characters of a table.

    Args:
        head: First characters; the last line may be truncated.
        is_quoted: Whether the table is CSV; TSV has neither quotes nor other delimiters.
    """
    text = head.removeprefix("\ufeff")
    if not is_quoted:
        rows = [tuple(line.rstrip("\r").split("\t")) for line in _lines(text)]
        return Table("\t", None, tuple(rows), has_header(rows))
    delimiter = None
    if mark := _DELIMITER_LINE.match(text):
        delimiter, text = mark[1], text[mark.end() :]
    lines = _lines(text)
    found = (delimiter,) if delimiter else _DELIMITERS
    escapes = (None, "\\") if any('\\"' in line for line in lines) else (None,)
    looks = [(_rows(lines, each, escape), each, escape) for each in found for escape in escapes]
    rows, best, escape = max(looks, key=lambda look: _how_even(look[0]))
    return Table("," if delimiter else best, escape, tuple(rows), has_header(rows))


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Check whether the first of some rows names the columns.

    It does if a name is well known, if all names are identifiers, or if the cells below a name
    differ from it: numbers under a word, or texts much longer than a name. It does not if one of
    its cells is a value that occurs again below, such as a label.
    """
    if not rows:
        return True
    first = [cell.strip() for cell in rows[0]]
    data = [row for row in rows[1:] if len(row) == len(first)]
    named = [cell for cell in first if cell]
    if not named or any(len(cell) > _MAX_HEADER for cell in first):
        return False
    if rows[0] in rows[1:] and not any(map(_SENTENCE.search, first)):
        return True  # concatenated tables
    columns = list(zip(first, zip(*data, strict=True), strict=True)) if data else []
    again = {name for name, cells in columns if name in map(str.strip, cells)}
    if any(plain_name(name) in KNOWN_NAMES and name not in again for name in named):
        return True
    if again - {""}:
        return False
    if not first[0] and data and _is_numbers([row[0] for row in data]):
        return True  # the index of a data frame has no name
    if all(map(_NUMBER.fullmatch, named)):
        return False
    if len(named) == len(first) == len(set(first)) and all(map(_IDENTIFIER.fullmatch, first)):
        return True
    if not data or any(map(_SENTENCE.search, first)):
        return False
    if any(_is_numbers(cells) and _NUMBER.fullmatch(name) for name, cells in columns):
        return False
    if any(_is_numbers(cells) and not _NUMBER.fullmatch(name or "0") for name, cells in columns):
        return True
    texts = [(name, cells) for name, cells in columns if not _is_numbers(cells)]
    return bool(texts) and all(
        _median(cells) >= _LONGER * len(plain_name(name)) for name, cells in texts
    )


def _is_numbers(cells: Sequence[str]) -> bool:
    return all(map(_NUMBER.fullmatch, cells))


def _median(cells: Sequence[str]) -> int:
    return sorted(map(len, cells))[len(cells) // 2]


def _lines(text: str) -> list[str]:
    end = text.rfind("\n")
    return [line for line in text[: end + 1 if end >= 0 else None].split("\n") if line.strip()]


def _rows(lines: Sequence[str], delimiter: str, escape: str | None) -> list[tuple[str, ...]]:
    """Parse lines until one cannot be parsed."""
    rows: list[tuple[str, ...]] = []
    ended = (line + "\n" for line in lines)
    reader = csv.reader(ended, delimiter=delimiter, escapechar=escape, strict=True)
    try:
        for row in reader:
            rows.append(tuple(row))
            if len(rows) == _MAX_ROWS:
                break
    except csv.Error:
        pass
    return rows


def _how_even(rows: Sequence[Sequence[str]]) -> tuple[bool, int]:
    """Rank a parse: several columns before one, then by the number of rows of one width."""
    if not rows:
        return False, 0
    alike = sum(len(row) == len(rows[0]) for row in rows)
    return len(rows[0]) > 1 and alike >= _MIN_SHARE * len(rows), alike
