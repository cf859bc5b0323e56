"""Scripts by name: which characters belong to each, by their Unicode properties."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import regex

from linly.tokenization.words.script_names import ScriptName

_UNICODE = {"kana": ("Hiragana", "Katakana")}
_WITHOUT_SPACES: frozenset[ScriptName] = frozenset(
    ("han", "kana", "khmer", "lao", "myanmar", "thai", "tibetan")
)
_EVERY_CHARACTER = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x40000))))
"""Planes 0 to 3 of Unicode: the others have no letters."""


@dataclass(frozen=True, slots=True)
class Script:
    """The characters that words are made of.

    Attributes:
        characters: Single characters.
        is_spaced: Whether words are written with a space before them. The space then belongs to
            the word, as in English pieces.
    """

    characters: frozenset[str]
    is_spaced: bool


@lru_cache(maxsize=4)
def script_named(name: ScriptName) -> Script:
    """Characters of a script.

    They are those with its Script property, and the letters and marks that it shares with others
    (Script_Extensions): the vowel signs of Arabic, the long-vowel mark of kana.
    """
    names = _UNICODE.get(name, (name.capitalize(),))
    own = "".join(rf"\p{{Script={one}}}" for one in names)
    shared = "".join(rf"\p{{Script_Extensions={one}}}" for one in names)
    form = regex.compile(rf"[{own}]|(?=[\p{{L}}\p{{M}}])[{shared}]")
    found: list[str] = form.findall(_EVERY_CHARACTER)
    return Script(frozenset(found), is_spaced=name not in _WITHOUT_SPACES)
