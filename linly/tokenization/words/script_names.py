"""Names of the scripts that words can be learned of."""

from __future__ import annotations

from typing import Literal, get_args

ScriptName = Literal[
    "arabic",
    "armenian",
    "bengali",
    "cyrillic",
    "devanagari",
    "georgian",
    "greek",
    "hangul",
    "han",
    "hebrew",
    "kana",
    "khmer",
    "lao",
    "myanmar",
    "tamil",
    "telugu",
    "thai",
    "tibetan",
]

SCRIPT_NAMES: tuple[ScriptName, ...] = get_args(ScriptName)
