"""Finds line-aligned files of two languages, as Moses and OPUS name them: `a.en` and `a.zh`."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import splitext

from linly.config.sections.languages import LANGUAGE
from linly.data.reading.formats import format_of
from linly.storage.decompression import CODECS

_NO_LANGUAGES = frozenset({"bak", "bin", "cfg", "css", "doc", "dvc", "ini", "log", "md", "pdf",
                           "png", "py", "rst", "sh", "xml", "yml"})  # fmt: skip
"""Endings of files that have the form of a language code, and are none."""


def pair_files(
    paths: Sequence[str],
) -> tuple[list[dict[str, tuple[str, ...]]], list[tuple[str, ...]]]:
    """Find the line-aligned files among some files, named STEM.LANGUAGE, possibly compressed.

    Returns:
        Language -> files for every two languages, those of a pair at the same position; and the
        files of every stem that has more than two languages.
    """
    by_stem: dict[tuple[str, str], dict[str, str]] = {}
    for path in paths:
        if (parts := _parts(path)) is not None:
            stem, language, codec = parts
            by_stem.setdefault((stem, codec), {})[language] = path
    languages: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for (_, codec), found in by_stem.items():
        if len(found) == 2:
            languages.setdefault((*sorted(found), codec), []).append(found)
    pairs = [
        {language: tuple(one[language] for one in found) for language in key[:2]}
        for key, found in languages.items()
    ]
    return pairs, [tuple(found.values()) for found in by_stem.values() if len(found) > 2]


def language_ending(path: str) -> str | None:
    """Return the language that a file's ending names; None if there is none."""
    parts = _parts(path)
    return None if parts is None else parts[1]


def _parts(path: str) -> tuple[str, str, str] | None:
    """Split a path into stem, language and compression suffix; None if it names no language."""
    if format_of(path) is not None:
        return None
    stem, codec = splitext(path)
    if codec.lower() not in CODECS:
        stem, codec = path, ""
    stem, ending = splitext(stem)
    language = ending.removeprefix(".")
    if not LANGUAGE.fullmatch(language) or language in _NO_LANGUAGES:
        return None
    return stem, language, codec
