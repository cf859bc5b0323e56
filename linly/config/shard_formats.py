"""The formats of shards: names, suffixes, and the keys of a corpus file that apply to each.

The readers are in `data/reading/formats.py`. A new format is a name and its properties here, and a
reader there; a type checker refuses a name that lacks one of them, and either without a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FileFormat = Literal["jsonl", "json", "parquet", "tsv", "csv", "txt", "arrow", "tmx"]
"""Formats that a corpus file may name."""

FormatName = FileFormat | Literal["moses"]
"""All formats; line-aligned files are recognized by `paths` with a pattern per language."""

FormatKey = Literal["columns", "delimiter", "escape"]
"""Keys of a corpus file that apply only to some formats."""


@dataclass(frozen=True, slots=True)
class Format:
    """Properties of a format that do not depend on its reader.

    Attributes:
        suffixes: Suffixes of file names that imply the format, before a compression suffix.
        layout: Structure of a file: lines of text; text that is parsed as a whole; or columns in
            binary form, which have an encoding of their own.
        keys: Keys of a corpus file that apply to it and not to all formats.
        numbers_are_text: Whether numbers are written as text, as in a table: `where` then compares
            text that spells a number as that number, and empty text as null.
        declares_encoding: Whether a text file may state its encoding itself.
    """

    suffixes: tuple[str, ...]
    layout: Literal["lines", "text", "columnar"]
    keys: frozenset[FormatKey] = frozenset()
    numbers_are_text: bool = False
    declares_encoding: bool = False

    @property
    def has_own_encoding(self) -> bool:
        """Whether `encoding` of a corpus file does not apply."""
        return self.layout == "columnar"

    @property
    def has_columns(self) -> bool:
        """Whether `columns` of a corpus file may name its columns, in place of a header."""
        return "columns" in self.keys


def _properties(name: FormatName) -> Format:
    match name:
        case "jsonl":
            return Format((".jsonl", ".ndjson"), "lines")
        case "json":
            return Format((".json",), "text")
        case "parquet":
            return Format((".parquet",), "columnar")
        case "tsv":
            return Format((".tsv",), "lines", frozenset({"columns"}), numbers_are_text=True)
        case "csv":
            keys: frozenset[FormatKey] = frozenset({"columns", "delimiter", "escape"})
            return Format((".csv",), "lines", keys, numbers_are_text=True)
        case "txt":
            return Format((".txt",), "lines")
        case "arrow":
            return Format((".arrow", ".feather"), "columnar")
        case "tmx":
            return Format((".tmx",), "text", declares_encoding=True)
        case "moses":
            return Format((), "lines")


FORMATS: dict[FormatName, Format] = {
    name: _properties(name) for name in (*get_args(FileFormat), "moses")
}
