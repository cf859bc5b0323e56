"""Keys of what is plotted: a source's name never reads as another key."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from linly.records.evaluation_record import (
    AverageEvaluation,
    EvaluationRecord,
    LanguageEvaluation,
    NewPieceStatistics,
)
from linly.training.recording.trackers.scalars import key_of, scalars_of


@given(st.lists(st.text(), unique=True, min_size=2, max_size=2))
def test_two_names_never_give_one_key(names: list[str]) -> None:
    first, second = map(key_of, names)
    assert first != second


@given(st.text())
def test_a_name_adds_no_level_and_no_wildcard(name: str) -> None:
    assert not set(key_of(name)) & set("/*. \\")


def test_usual_names_stay_as_they_are() -> None:
    assert key_of("wiki2019zh_a-b") == "wiki2019zh_a-b"
    assert key_of("维基") == "维基"
    assert key_of("a/target") == "a%2Ftarget"


def test_what_an_evaluation_does_not_have_is_left_out() -> None:
    record = EvaluationRecord(step=0, tokens_seen=5)
    assert scalars_of(record) == {"tokens_seen": 5.0}
    pieces = NewPieceStatistics(num_pieces=4, num_seen=3, share_of_tokens=0.25)
    assert scalars_of(replace(record, new_pieces=pieces)) == {
        "tokens_seen": 5.0,
        "new_pieces/share_of_tokens": 0.25,
        "new_pieces/num_seen": 3.0,
        "new_pieces/num_pieces": 4.0,
    }


def test_forgetting_is_plotted_by_language() -> None:
    languages = {
        "en": LanguageEvaluation(bits_per_byte=1.1, change=0.1),
        "zh": LanguageEvaluation(bits_per_byte=2.0),
    }
    assert scalars_of(EvaluationRecord(step=0, tokens_seen=5, languages=languages)) == {
        "tokens_seen": 5.0,
        "language/en/bits_per_byte": 1.1,
        "language/en/change": 0.1,
        "language/zh/bits_per_byte": 2.0,
    }


def test_averaged_weights_have_keys_of_their_own() -> None:
    languages = {"zh": LanguageEvaluation(bits_per_byte=2.0)}
    average = AverageEvaluation(languages={"zh": LanguageEvaluation(bits_per_byte=1.5)})
    found = scalars_of(EvaluationRecord(step=1, languages=languages, average=average))
    assert found["language/zh/bits_per_byte"] == 2.0
    assert found["average/language/zh/bits_per_byte"] == 1.5
