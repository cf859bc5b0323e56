"""The end line of a run."""

from __future__ import annotations

from linly.config.sections.languages import Languages
from linly.evaluation.summary import language_notices, summary_line
from linly.records.evaluation_record import SourceEvaluation


def source(language: str, bits: float) -> SourceEvaluation:
    return SourceEvaluation(language=language, bits_per_byte=bits, size_bytes=100)


BEFORE = {"wiki": source("zh", 1.92), "pajama": source("en", 1.0), "ko": source("ko", 3.0)}
AFTER = {"wiki": source("zh", 1.312), "pajama": source("en", 1.018), "ko": source("ko", 2.0)}


def test_the_learned_language_comes_first_and_the_kept_one_last() -> None:
    assert summary_line(BEFORE, AFTER, languages=Languages(), largest_drift=0.931) == (
        "zh 1.92 -> 1.31 bits/byte, ko 3.00 -> 2.00 bits/byte, en +1.8%, largest drift 0.93 row"
    )
    languages = Languages(kept="zh", learned="ko")
    assert summary_line(BEFORE, AFTER, languages=languages, largest_drift=0.931) == (
        "ko 3.00 -> 2.00 bits/byte, en 1.00 -> 1.02 bits/byte, zh -31.7%, largest drift 0.93 row"
    )


def test_sources_of_one_end_are_named_and_not_averaged() -> None:
    before = BEFORE | {"news": source("zh", 0.1)}
    after = AFTER | {"books": source("en", 9.0), "ja": source("ja", 1.0)}
    assert summary_line(before, after, languages=Languages(), largest_drift=0.5) == (
        "zh 1.92 -> 1.31 bits/byte (without news), ko 3.00 -> 2.00 bits/byte, "
        "en +1.8% (without books), ja not compared, largest drift 0.50 row"
    )


def test_a_language_without_held_out_text_is_noticed() -> None:
    (notice,) = language_notices(Languages(learned="ja"), BEFORE)
    assert notice.startswith("no held-out text in ja (found: en, ko, zh), so it cannot be said")
    assert language_notices(Languages(learned="ko"), BEFORE) == []
    assert language_notices(Languages(), {}) == []


def test_without_held_out_documents_the_drift_remains() -> None:
    text = summary_line({}, {}, languages=Languages(), largest_drift=0.5)
    assert text == "largest drift 0.50 row"
