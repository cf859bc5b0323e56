"""Texts of documents for a terminal: escaped, of bounded length, labelled by their loss."""

from __future__ import annotations

import unicodedata

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LOSS, _NO_LOSS, _NEXT_LINE = "loss    | ", "no loss | ", "\n        | "


def printable(text: str) -> str:
    """Escape control and bidirectional characters; keep newlines and tabs."""
    return "".join(
        f"\\u{ord(c):04x}"
        if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in _BIDI
        else c
        for c in text
    )


def shortened(text: str, limit: int) -> str:
    """Return a text whose middle is left out, with a notice, if it is longer than `limit`."""
    more = len(text) - limit
    if more <= 0:
        return text
    half = limit // 2
    return f"{text[:half]} [... {more:,} characters more ...] {text[-half:]}"


def labelled(text: str, supervised: bool, limit: int) -> tuple[str, str]:
    """Return the label of a part of a document, and its text with further lines aligned to it."""
    lines = shortened(printable(text), limit).replace("\n", _NEXT_LINE)
    return _LOSS if supervised else _NO_LOSS, lines
