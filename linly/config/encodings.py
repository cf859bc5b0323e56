"""Encodings of text: those of Python's that a file of lines can be in."""

from __future__ import annotations

import codecs

_NO_TEXT_FILE = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Of names and of source code: they are no encoding of a file's characters."""


def text_encoding(name: str) -> str | None:
    """Give the one name of an encoding (`UTF8`: utf-8; `cp936`: gbk); None when it is not known.

    What turns bytes into bytes (base64, zlib) or text into text (rot13) is none.
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
