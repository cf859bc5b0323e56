"""linly.data.reading.records: fields, forms, `where`, and which records are held out."""

from __future__ import annotations

from typing import Any

import pytest

from linly.config.where import Where
from linly.data.reading.records import (
    Form,
    UnusableRecord,
    clean_text,
    compile_where,
    is_held_out,
    parse_field,
)
from linly.errors import ConfigError

RECORD: dict[str, Any] = {
    "text": "a text",
    "meta": {"title": "a title", "tags": ["x", "y"], "none": None, "year": 1999},
    "段落": [{"内容": "一"}, {"内容": "二"}],
    "dotted.name": "flat",
    "empty": "",
}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("text", "a text"),
        ("meta.title", "a title"),
        ("meta.tags", "x\ny"),
        ("段落.内容", "一\n二"),
        ("dotted.name", "flat"),
        ("`dotted.name`", "flat"),
        ("meta.`title`", "a title"),
        ("meta.tags.0", "x"),
        ("meta.tags.1", "y"),
        ("meta.tags.7?", ""),
        ("段落.1.内容", "二"),
        ("meta.none", ""),
        ("missing?", ""),
        ("meta.missing?", ""),
        ("{meta.title}\n\n{text}", "a title\n\na text"),
        ("{empty}\n\n{text}", "a text"),
        ("{text}\n{missing?}", "a text"),
        ("Title: {empty}{missing?}", ""),
        ("{{{text}}}", "{a text}"),
    ],
)
def test_a_field_gives_its_text(written: str, expected: str) -> None:
    assert parse_field(written).text(RECORD) == expected


@pytest.mark.parametrize("written", ["txt", "meta.txt", "text.deeper", "{title}\n{text}"])
def test_a_missing_field_is_named_with_the_fields_found(written: str) -> None:
    with pytest.raises(UnusableRecord, match="is missing; fields found: 'text', 'meta', '段落'"):
        parse_field(written).text(RECORD)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("meta", "field 'meta' is dict, not text"),
        ("meta.year", "field 'meta.year' is int, not text"),
        ("段落.标题", "missing in some elements"),
    ],
)
def test_what_is_no_text_is_named(written: str, reason: str) -> None:
    with pytest.raises(UnusableRecord, match=reason):
        parse_field(written).text(RECORD)


@pytest.mark.parametrize("written", ["a..b", "", "{a", "{a:>10}", "{a!r}", "{}"])
def test_a_field_that_cannot_be_read_is_a_config_error(written: str) -> None:
    with pytest.raises(ConfigError, match="fields:"):
        parse_field(written)


def test_a_form_is_no_code() -> None:
    form = parse_field("{text.__class__}")
    assert isinstance(form, Form)
    with pytest.raises(UnusableRecord, match=r"'text\.__class__' is missing"):
        form.text(RECORD)


def test_line_breaks_become_newlines() -> None:
    assert clean_text("a\r\nb\rc\n", "text") == "a\nb\nc\n"


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "\udcff"])
def test_text_that_no_tokenizer_takes_is_unusable(text: str) -> None:
    with pytest.raises(UnusableRecord, match=r"NUL|lone surrogate"):
        clean_text(text, "text")


def where(condition: dict[str, object]) -> Where:
    return Where.model_validate({"field": "meta.value", **condition})


@pytest.mark.parametrize(
    ("condition", "kept", "left_out"),
    [
        ({"equal": "a"}, ["a"], ["b", 1, None]),
        ({"in": ["a", 2]}, ["a", 2], ["b", 1]),
        ({"not_in": ["a"]}, ["b", 3], ["a"]),
        ({"at_least": 0.5}, [0.5, 1], [0.4, -1]),
        ({"at_most": 10}, [10, -3.0], [11]),
        ({"matches": "^a.c"}, ["abcd"], ["xabc"]),
        ({"equal": 1}, [1, 1.0], [True]),
        ({"in": [True]}, [True], [1]),
        ({"not_in": [0]}, [False, 1], [0]),
        ({"equal": "a"}, [["a", "a"], []], [["a", "b"], ["b"]]),
        ({"in": ["a", 2]}, [["a", 2], [["a"], 2]], [["a", 3]]),
        ({"not_in": [True]}, [[False, None]], [[False, True], [[True]]]),
        ({"at_least": 1}, [[1, 2]], [[0, 2]]),
        ({"matches": "a"}, [["a", "ba"]], [["a", "b"]]),
    ],
)
def test_where_keeps_what_meets_its_condition(
    condition: dict[str, object], kept: list[object], left_out: list[object]
) -> None:
    reason = compile_where([where(condition)])
    assert [reason({"meta": {"value": value}}) for value in kept] == [None] * len(kept)
    for value in left_out:
        assert "meta.value" in (reason({"meta": {"value": value}}) or "")


def test_all_conditions_of_where_must_hold() -> None:
    reason = compile_where([where({"at_least": 1}), where({"at_most": 3})])
    assert [reason({"meta": {"value": v}}) is None for v in (0, 2, 4)] == [False, True, False]


CONDITIONS: list[dict[str, object]] = [
    {"at_least": 1}, {"at_most": 2}, {"matches": "a"}, {"equal": "a"}, {"equal": 0}, {"in": ["a"]}
]  # fmt: skip


@pytest.mark.parametrize("numbers_are_text", [False, True])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_null_compares_as_an_absent_optional_field(
    condition: dict[str, object], numbers_are_text: bool
) -> None:
    null = compile_where([where(condition)], numbers_are_text=numbers_are_text)(
        {"meta": {"value": None}}
    )
    optional = Where.model_validate({"field": "meta.value?", **condition})
    assert null == "where: meta.value is 'None'"
    assert compile_where([optional], numbers_are_text=numbers_are_text)({"meta": {}}) == null


def test_null_is_none_of_what_a_condition_names() -> None:
    assert compile_where([where({"not_in": ["a"]})])({"meta": {"value": None}}) is None


@pytest.mark.parametrize("condition", [{"at_least": 1}, {"at_most": 2}])
@pytest.mark.parametrize("value", [True, ["a", 1], "4", "high", "", {"a": 1}, b"4"])
def test_a_value_that_cannot_be_compared_is_named_with_its_condition(
    condition: dict[str, object], value: object
) -> None:
    with pytest.raises(UnusableRecord, match=r"where: field 'meta\.value' is .* compares a number"):
        compile_where([where(condition)])({"meta": {"value": value}})


@pytest.mark.parametrize("value", [True, 4, 1.5, {"a": 1}, b"a"])
def test_only_text_matches_a_pattern(value: object) -> None:
    with pytest.raises(UnusableRecord, match=r"`matches: a` compares text; correct the condition"):
        compile_where([where({"matches": "a"})])({"meta": {"value": value}})


@pytest.mark.parametrize(
    ("condition", "kept", "left_out"),
    [
        ({"at_least": 2}, ["4", " 2 ", "2.0", "1e3", "+3"], ["1.5", "-4", "", " "]),
        ({"at_most": 2}, ["-4", ".5", "2."], ["4", ""]),
        ({"equal": 4}, ["4", "4.0", " 4"], ["5", "x", ""]),
        ({"equal": "4"}, ["4"], ["4.0"]),
        ({"in": [1, "x"]}, ["1", "1.0", "x"], ["2", "y"]),
        ({"not_in": [0]}, ["1", "x", ""], ["0", "0.0"]),
        ({"matches": "^4$"}, ["4"], ["4.0"]),
    ],
)
def test_numbers_in_the_text_of_a_table_compare_as_numbers(
    condition: dict[str, object], kept: list[str], left_out: list[str]
) -> None:
    reason = compile_where([where(condition)], numbers_are_text=True)
    assert [reason({"meta": {"value": value}}) for value in kept] == [None] * len(kept)
    assert None not in [reason({"meta": {"value": value}}) for value in left_out]


@pytest.mark.parametrize("value", ["high", "1_000", "４", "nan", "1,5"])
def test_text_of_a_table_that_is_no_number_is_named(value: str) -> None:
    with pytest.raises(UnusableRecord, match=r"where: field 'meta\.value' is text .* a number"):
        compile_where([where({"at_least": 1})], numbers_are_text=True)({"meta": {"value": value}})


def test_where_through_a_list_looks_at_every_element() -> None:
    reason = compile_where([Where.model_validate({"field": "段落.是否重复", "not_in": [True]})])
    assert reason({"段落": [{"是否重复": False}, {"是否重复": False}]}) is None
    assert (
        reason({"段落": [{"是否重复": False}, {"是否重复": True}]})
        == "where: 段落.是否重复 is 'True'"
    )
    with pytest.raises(UnusableRecord, match=r"'段落\.是否重复' is missing in some elements"):
        reason({"段落": [{"是否重复": False}, {}]})
    optional = Where.model_validate({"field": "段落.是否重复?", "not_in": [True]})
    assert compile_where([optional])({"段落": [{"是否重复": False}, {}]}) is None


def test_a_field_of_where_that_is_missing_is_a_bad_record() -> None:
    with pytest.raises(UnusableRecord, match=r"'meta\.value' is missing"):
        compile_where([where({"equal": 1})])({"meta": {}})


def test_about_the_fraction_is_held_out_and_a_larger_one_holds_out_more() -> None:
    texts = [(("text", f"text number {i}"),) for i in range(20_000)]
    tenth = {i for i, t in enumerate(texts) if is_held_out(t, 0.1)}
    fifth = {i for i, t in enumerate(texts) if is_held_out(t, 0.2)}
    assert 1900 < len(tenth) < 2100
    assert tenth < fifth
    assert not any(is_held_out(t, 0.0) for t in texts)
    assert all(is_held_out(t, 1.0) for t in texts)


def test_which_records_are_held_out_never_changes() -> None:
    """Frozen: another choice would train on what an earlier run held out."""
    texts = [(("zh", f"第{i}"), ("en", f"number {i}")) for i in range(200)]
    held = [i for i, t in enumerate(texts) if is_held_out(t, 0.05)]
    assert held == [64, 72, 89, 90, 98, 106, 107, 179]


def test_lists_nested_too_deep_are_a_bad_record_whoever_reads_them() -> None:
    deep: Any = "text"
    objects: Any = {"x": "text"}
    for _ in range(400):
        deep, objects = [deep], [objects]
    for record, path in (({"a": deep}, "a"), ({"a": objects}, "a.x")):
        with pytest.raises(UnusableRecord, match="lists nested deeper than 100"):
            parse_field(path).text(record)
    shallow: Any = "text"
    for _ in range(100):
        shallow = [shallow]
    assert parse_field("a").text({"a": shallow}) == "text"
