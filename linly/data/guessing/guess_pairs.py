"""Guesses line-aligned files of two languages, as Moses and OPUS name them: `a.en` and `a.zh`."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import splitext

from linly.config.languages import LANGUAGE
from linly.data.reading.formats import format_of
from linly.storage.decompression import CODECS


def guess_pairs(pattern: str, paths: Sequence[str]) -> dict[str, str] | None:
    """Return language -> pattern if the files form pairs of two languages, else None.

    Args:
        pattern: Pattern that the files match; it must end in a wildcard.
        paths: Files, all named STEM.LANGUAGE, possibly compressed.
    """
    codec = splitext(paths[0])[1]
    codec = codec if codec.lower() in CODECS else ""
    stems: dict[str, set[str]] = {}
    for path in paths:
        if not path.endswith(codec) or format_of(path) is not None:
            return None
        stem, suffix = splitext(path.removesuffix(codec))
        stems.setdefault(suffix.removeprefix("."), set()).add(stem)
    before = pattern.removesuffix(codec)
    if len(stems) != 2 or not before.endswith("*") or not all(map(LANGUAGE.fullmatch, stems)):
        return None
    first, second = stems.values()
    if first != second:
        return None
    begin = before.removesuffix("*") if before.endswith(".*") else f"{before}."
    return {language: f"{begin}{language}{codec}" for language in sorted(stems)}
