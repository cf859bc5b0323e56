"""Fertility counts what was encoded, and finds texts that changed without reason."""

from __future__ import annotations

from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.growth.fertility import (
    MAX_EXAMPLES,
    LocatedText,
    TouchedDocument,
    compare_vocabularies,
)
from linly.tokenization.model_file import SPACE
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import ENGLISH, english_model, hand_made

BASE = SentencePieceTokenizer(english_model())
NEW = SentencePieceTokenizer(extend_vocabulary(BASE, list("山水日")))


def located(*texts: str) -> list[LocatedText]:
    return [LocatedText("a.jsonl", record, text) for record, text in enumerate(texts)]


def test_counts_of_a_small_text() -> None:
    report = compare_vocabularies("zh", located("山水", "木"), BASE, NEW)
    assert (report.documents, report.characters, report.size_bytes) == (2, 3, 9)
    assert (report.before.tokens, report.before.byte_tokens) == (2 + 9, 9)
    assert (report.after.tokens, report.after.byte_tokens) == (2 + 2 + 3, 3)
    assert (report.added_used, report.num_added) == (2, 3)
    assert (report.num_unchanged, report.num_with_added) == (1, 1)
    assert report.num_unexplained == 0
    assert report.touched == (TouchedDocument("a.jsonl", 0, ("山", "水")),)
    assert report.advice() == "3.67 -> 2.33 tokens per character: extend"


def test_english_is_reported_unchanged() -> None:
    report = compare_vocabularies("en", located(*ENGLISH), BASE, NEW)
    assert report.num_unchanged == report.documents == len(ENGLISH)
    assert report.advice() == "unchanged"


def test_a_text_that_changed_without_a_new_piece_is_found() -> None:
    pieces = [("a", -5.0), ("b", -6.0), ("c", -7.0), (SPACE, -8.0), ("ab", -1.0), ("bc", -2.0)]
    base = SentencePieceTokenizer(hand_made(pieces))
    swapped = [*pieces[:-2], ("ab", -2.0), ("bc", -1.0)]
    report = compare_vocabularies(
        "x", located("abc", "ab"), base, SentencePieceTokenizer(hand_made(swapped))
    )
    assert report.num_unexplained == 1
    assert report.touched == (TouchedDocument("a.jsonl", 0, ()),)


def test_touched_documents_are_bounded_unless_all_are_asked_for() -> None:
    texts = located(*["山"] * 15)
    assert len(compare_vocabularies("zh", texts, BASE, NEW).touched) == MAX_EXAMPLES
    every = compare_vocabularies("zh", texts, BASE, NEW, max_touched=None)
    assert [document.record for document in every.touched] == list(range(15))
