"""The end line of a run."""

from __future__ import annotations

import pytest

from linly.evaluation.summary import summary_line
from linly.records.evaluation_record import (
    LanguageEvaluation,
    SourceEvaluation,
    bits_per_byte_by_language,
    results_by_language,
)


def source(
    language: str, bits: float, size_bytes: int = 100, kind: str = "text"
) -> SourceEvaluation:
    return SourceEvaluation(language=language, bits_per_byte=bits, size_bytes=size_bytes, kind=kind)


def test_the_end_line_gives_each_language() -> None:
    before = {"wiki": source("zh", 1.92), "pajama": source("en", 1.0), "ko": source("ko", 3.0)}
    after = {"wiki": source("zh", 1.312), "pajama": source("en", 1.018), "ko": source("ko", 2.0)}
    assert summary_line(before, after, largest_drift=0.931) == (
        "ko 3.00 -> 2.00 bits/byte, zh 1.92 -> 1.31 bits/byte, en +1.8%, largest drift 0.93 row"
    )


def test_languages_are_weighted_by_bytes_and_plain_text_decides() -> None:
    sources = {
        "a": source("zh", 1.0, 300),
        "b": source("zh", 2.0, 100),
        "tuned": source("zh", 9.0, 900, "instruction"),
        "only": source("ja", 4.0, 10, "instruction"),
    }
    assert bits_per_byte_by_language(sources) == {"ja": 4.0, "zh": 1.25}


def test_forgetting_is_the_change_since_the_first_evaluation() -> None:
    before = {"pajama": source("en", 1.0)}
    after = {"pajama": source("en", 1.1), "wiki": source("zh", 2.0)}
    found = results_by_language(before, after)
    assert found["en"].bits_per_byte == 1.1
    assert found["en"].change == pytest.approx(0.1)
    assert found["zh"] == LanguageEvaluation(bits_per_byte=2.0, change=None)
    assert results_by_language(before, before)["en"].change == 0


def test_without_held_out_documents_the_drift_remains() -> None:
    assert summary_line({}, {}, largest_drift=0.5) == "largest drift 0.50 row"
