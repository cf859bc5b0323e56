"""Character lists follow a stated rule and hold nothing that cannot be a piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    PUBLISHED_COUNT,
    STANDARDS,
    by_frequency,
    check_cut,
    choose_characters,
    frequent_characters,
    read_characters,
    standard_characters,
    why_not_a_piece,
)


@pytest.mark.parametrize(
    ("standard", "count", "first"),
    [
        ("gb2312", 6763, "啊"),
        ("big5", 5401, "一"),
        ("gbk", 20902, "丂"),
        ("ksx1001", 2443, "가"),
        ("tis620", 87, "ก"),
    ],
)
def test_standards_hold_what_they_are_known_to_hold(standard: str, count: int, first: str) -> None:
    characters = list(STANDARDS[standard]())
    assert (len(characters), characters[0]) == (count, first)
    assert len(set(characters)) == count


def test_jis_holds_kana_and_the_kanji_of_both_levels() -> None:
    characters = list(STANDARDS["jis"]())
    assert sum("\u4e00" <= c <= "\u9fff" for c in characters) == 2965 + 3390 + 1
    # The one more is 仝, which stands among the signs.
    assert {"あ", "ン", "、", "亜"} <= set(characters)


def test_the_default_list_is_gb2312_then_punctuation_then_big5() -> None:
    chosen = choose_characters(standard_characters(DEFAULT_STANDARDS), [], count=None)
    assert chosen[:6763] == list(STANDARDS["gb2312"]())
    rest = chosen[6763:]
    assert rest[0] == "、"  # the ideographic space before it is no piece
    assert rest.index("！") < rest.index("們")  # full-width forms before Big5
    assert len(chosen) == len(set(chosen))
    assert all(why_not_a_piece(character) is None for character in chosen)


def test_known_characters_are_left_out_and_the_count_is_exact() -> None:
    assert choose_characters("abcab中d", ["a", "中"], count=2) == ["b", "c"]
    with pytest.raises(ConfigError, match="hold only 3 characters"):
        choose_characters("abcab中d", ["a", "中"], count=4)


def test_frequent_characters_come_first_and_ties_by_code_point() -> None:
    assert frequent_characters(["山水山", "天水山"]) == ["山", "水", "天"]
    assert frequent_characters(["ba"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("ab", "2 characters"), ("\x07", "control"), ("\u3000", "space"), ("\u2581", "space")],
)
def test_what_cannot_be_a_piece_says_why(bad: str, reason: str) -> None:
    assert reason in (why_not_a_piece(bad) or "")


def test_a_character_file_reads_back_and_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "characters.txt"
    path.write_text("# a comment\n山\n\n水\r\n#\n", encoding="utf-8")
    assert read_characters(path) == ["山", "水", "#"]
    assert list(standard_characters([str(path), "tis620"]))[:4] == ["山", "水", "#", "ก"]
    path.write_text("山\n水\n山\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"characters\.txt:3: .*line 1 has it already"):
        read_characters(path)
    path.write_text("山水\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"characters\.txt:1: .*2 characters"):
        read_characters(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_characters(path)


def test_an_unknown_standard_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'gb2313', allowed gb2312, punctuation, big5"):
        list(standard_characters(["gb2313"]))


def test_a_count_ends_where_a_standard_ends() -> None:
    names = ["gb2312", "tis620"]
    listed = list(standard_characters(names))
    with pytest.raises(ConfigError, match=r"count: 3,000 ends inside gb2312.*: 6,763, 6,850"):
        check_cut(names, listed, 3000)
    for count in (6763, 6850, None):
        check_cut(names, listed, count)
    check_cut(DEFAULT_STANDARDS, list(standard_characters(DEFAULT_STANDARDS)), PUBLISHED_COUNT)


def test_a_standard_is_ordered_by_frequency() -> None:
    ordered = by_frequency(["tis620"], ["x", "ไ", "ก"])
    assert ordered[:3] == ["ไ", "ก", "ข"]
    assert sorted(ordered) == sorted(standard_characters(["tis620"]))
