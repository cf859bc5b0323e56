"""The formats of shards: names, suffixes, and the keys of a corpus file that apply to each.

The readers are in `data/reading/formats.py`. A new format is an entry here and a reader there; a
type checker refuses a name that only one of the two knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileFormat = Literal["jsonl", "json", "parquet", "tsv", "csv", "txt", "arrow", "tmx"]
"""Formats that a corpus file may name."""

FormatName = FileFormat | Literal["moses"]
"""All formats; line-aligned files are recognized by `paths` with a pattern per language."""


@dataclass(frozen=True, slots=True)
class Format:
    """Properties of a format that do not depend on its reader.

    Attributes:
        suffixes: Suffixes of file names that imply the format, before a compression suffix.
        layout: Structure of a file: lines of text; text that is parsed as a whole; or columns in
            binary form, which have an encoding of their own.
        keys: Keys of a corpus file that apply only to some formats, and to this one.
        declares_encoding: Whether a text file may state its encoding itself.
    """

    suffixes: tuple[str, ...]
    layout: Literal["lines", "text", "columnar"]
    keys: frozenset[Literal["columns", "delimiter", "escape"]] = frozenset()
    declares_encoding: bool = False

    @property
    def has_own_encoding(self) -> bool:
        """Whether `encoding` of a corpus file does not apply."""
        return self.layout == "columnar"

    @property
    def is_table(self) -> bool:
        """Whether every value is text in a named column, so that numbers are text."""
        return "columns" in self.keys


FORMATS: dict[FormatName, Format] = {
    "jsonl": Format((".jsonl", ".ndjson"), "lines"),
    "json": Format((".json",), "text"),
    "parquet": Format((".parquet",), "columnar"),
    "tsv": Format((".tsv",), "lines", frozenset({"columns"})),
    "csv": Format((".csv",), "lines", frozenset({"columns", "delimiter", "escape"})),
    "txt": Format((".txt",), "lines"),
    "arrow": Format((".arrow", ".feather"), "columnar"),
    "tmx": Format((".tmx",), "text", declares_encoding=True),
    "moses": Format((), "lines"),
}
