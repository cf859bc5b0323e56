"""Two evaluations are compared over the text that both have."""

from __future__ import annotations

import pytest

from linly.records.before_after import (
    BitsChange,
    changes_by_language,
    changes_by_source,
    results_by_language,
)
from linly.records.evaluation_record import LanguageEvaluation, SourceEvaluation


def source(
    language: str, bits: float | None, size_bytes: int = 100, kind: str = "text"
) -> SourceEvaluation:
    return SourceEvaluation(language=language, bits_per_byte=bits, size_bytes=size_bytes, kind=kind)


def test_a_language_is_weighted_by_bytes_and_plain_text_first() -> None:
    before = {
        "a": source("zh", 1.0, 100),
        "b": source("zh", 2.0, 300),
        "tuned": source("zh", 9.0, 1000, "instruction"),
        "only": source("ja", 4.0, 10, "instruction"),
        "empty": source("fr", 3.0, 0),
    }
    after = before | {"b": source("zh", 1.0, 300)}
    assert changes_by_language(before, after) == {
        "ja": BitsChange(4.0, 4.0, ("only",)),
        "zh": BitsChange(1.75, 1.0, ("a", "b")),
    }


def test_a_source_of_one_side_does_not_count_and_is_named() -> None:
    """Unweighed, the drop of the harder source would look like a gain of half the bits."""
    before = {"easy": source("en", 1.0), "hard": source("en", 3.0)}
    after = {"easy": source("en", 0.998), "new": source("en", 0.1)}
    change = changes_by_language(before, after)["en"]
    assert (change.sources, change.left_out) == (("easy",), ("hard", "new"))
    assert change.relative == pytest.approx(-0.002)
    assert change.remark == " (without hard, new)"
    assert changes_by_source(before, after) == {"easy": BitsChange(1.0, 0.998, ("easy",))}


def test_only_sources_that_would_count_are_named() -> None:
    before = {"wiki": source("zh", 1.0), "tuned": source("zh", 2.0, kind="instruction")}
    assert changes_by_language(before, {"wiki": source("zh", 1.0)})["zh"].left_out == ()
    alone = {"tuned": source("zh", 1.0, kind="instruction")}
    assert changes_by_language(before, alone)["zh"] == BitsChange(2.0, 1.0, ("tuned",), ("wiki",))


@pytest.mark.parametrize(
    "other",
    [source("zh", 1.0, size_bytes=99), source("zh", 1.0, kind="instruction"), source("ko", 1.0)],
)
def test_another_text_of_the_same_name_is_not_compared(other: SourceEvaluation) -> None:
    before = {"wiki": source("zh", 1.0)}
    assert changes_by_language(before, {"wiki": other}) == {}
    assert changes_by_source(before, {"wiki": other}) == {}


def test_a_missing_number_is_not_averaged_away() -> None:
    before = {"a": source("zh", 1.0), "b": source("zh", 2.0)}
    assert changes_by_language(before, {"a": source("zh", 1.0), "b": source("zh", None)}) == {}


def test_a_curve_does_not_jump_where_a_source_is_added() -> None:
    before = {"pajama": source("en", 1.0)}
    after = {"pajama": source("en", 1.1), "books": source("en", 3.0), "wiki": source("zh", 2.0)}
    found = results_by_language(before, after)
    assert found["en"].bits_per_byte == 1.1
    assert found["en"].change == pytest.approx(0.1)
    assert found["zh"] == LanguageEvaluation(bits_per_byte=2.0, change=None)
    assert results_by_language(before, before)["en"].change == 0
