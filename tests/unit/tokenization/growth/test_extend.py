"""Appended characters get ids of their own; every other text keeps every id."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.errors import ConfigError
from linly.tokenization.growth.extend import add_pad_piece, extend_vocabulary
from linly.tokenization.model_file import NORMAL, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.subtokens import added_subtokens, check_grows
from tests.support.vocabularies import ENGLISH, HARD_TEXTS, english_model

CHARACTERS = "山水日月，。"
BASE = SentencePieceTokenizer(english_model())
NEW = SentencePieceTokenizer(extend_vocabulary(BASE, list(CHARACTERS)))


def test_pieces_are_appended_below_every_merge_and_nothing_else_changes() -> None:
    old = parse_model(BASE.model_bytes, origin="old")
    new = parse_model(NEW.model_bytes, origin="new")
    assert new.pieces[: len(old.pieces)] == old.pieces[:]
    assert [piece.piece for piece in new.pieces[len(old.pieces) :]] == list(CHARACTERS)
    lowest = min(piece.score for piece in old.pieces if piece.type == NORMAL)
    assert all(piece.score < lowest for piece in new.pieces[len(old.pieces) :])
    assert new.normalizer_spec == old.normalizer_spec


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CHARACTERS)))
def test_a_text_without_an_added_character_keeps_its_ids(text: str) -> None:
    assert NEW.encode(text).tolist() == BASE.encode(text).tolist()


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(CHARACTERS + "the river \n木") | st.characters(categories=["L"])))
def test_encode_and_decode_round_trip_with_added_characters(text: str) -> None:
    ids = NEW.encode(text).tolist()
    assert NEW.decode(ids) == text
    assert sum(token >= BASE.vocab_size for token in ids) == sum(c in CHARACTERS for c in text)


def test_an_added_character_is_one_token_anywhere() -> None:
    first = BASE.vocab_size
    assert NEW.encode("山")[-1] == first
    assert NEW.encode("the river水the").tolist().count(first + 1) == 1
    assert (NEW.encode("木") < first).all()


def test_refused_characters_are_listed_with_reasons() -> None:
    with pytest.raises(ConfigError) as error:
        extend_vocabulary(NEW, ["山", "ab", "\x01", "木", "木"])
    for part in (
        "4 characters cannot be added",
        "'山': the base has it",
        "'ab': 2 characters",
        "control",
        "'木': given twice",
    ):
        assert part in str(error.value)


def test_a_padding_piece_is_appended_once_and_no_text_gives_it() -> None:
    padded = SentencePieceTokenizer(add_pad_piece(NEW))
    assert padded.pad_id == NEW.vocab_size
    assert padded.vocab_size == NEW.vocab_size + 1
    for text in (*HARD_TEXTS, *ENGLISH, "<pad>"):
        assert padded.encode(text).tolist() == NEW.encode(text).tolist()
    with pytest.raises(ConfigError, match="has a padding piece already"):
        add_pad_piece(padded)


def test_subtokens_leave_the_dummy_prefix_out_and_are_sorted() -> None:
    parts = added_subtokens(BASE, SentencePieceTokenizer(add_pad_piece(NEW)))
    names = sorted(f"<0x{byte:02X}>" for byte in "山".encode())
    assert sorted(BASE.piece(token) for token in parts[0]) == names
    assert all(len(part) == 3 and list(part) == sorted(part) for part in parts[:-1])
    assert parts[-1] == ()  # no text gives the padding piece
    assert added_subtokens(NEW, NEW) == []


def test_a_vocabulary_that_does_not_begin_with_the_old_one_is_refused() -> None:
    other = SentencePieceTokenizer(english_model(size=380))
    with pytest.raises(ConfigError, match="fewer than the 400"):
        check_grows(BASE, other)
    with pytest.raises(ConfigError, match=r"id \d+ is .* in the model's tokenizer and"):
        check_grows(other, NEW)
