"""Text encodings: the ones of Python's that a file of lines can use."""

from __future__ import annotations

import codecs

_NO_TEXT_FILE = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Encodings of names and of source code, not of a file's characters."""


def text_encoding(name: str) -> str | None:
    """Return the canonical name of an encoding (`UTF8`: utf-8; `cp936`: gbk); None if unknown.

    Codecs from bytes to bytes (base64, zlib) or from text to text (rot13) are not encodings.
    """
    try:
        codec = codecs.lookup(name)
        "".encode(name)
    except (LookupError, UnicodeError, ValueError):
        return None
    found = codec.name.replace("_", "-")
    if found in _NO_TEXT_FILE or codec.incrementaldecoder is None:
        return None
    return "utf-8" if found == "utf-8-sig" else found
