"""Scripts hold the characters that Unicode gives them, and no punctuation."""

from __future__ import annotations

import pytest

from linly.tokenization.words.script_names import SCRIPT_NAMES
from linly.tokenization.words.scripts import script_named


@pytest.mark.parametrize(
    ("name", "within", "without"),
    [
        ("han", "中国々〇㐀\U00020000", "あ、。a한，"),
        ("kana", "あアーゞ", "中、a"),
        ("hangul", "한ㄱ", "中a. "),
        ("thai", "ไท่", "a中฿"),
        ("arabic", "عَ", "a,1"),
        ("cyrillic", "Жё", "Za"),
    ],
)
def test_characters_of_a_script(name: str, within: str, without: str) -> None:
    found = script_named(name).characters  # type: ignore[arg-type]
    assert found.issuperset(within)
    assert found.isdisjoint(without)


def test_every_script_has_letters() -> None:
    assert all(len(script_named(name).characters) > 30 for name in SCRIPT_NAMES)
