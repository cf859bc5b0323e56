"""Merged pieces follow the base's, with scores that mean what they say."""

from __future__ import annotations

import pytest

from linly.errors import ConfigError
from linly.tokenization.growth.merge import Scores, merge_vocabularies
from linly.tokenization.model_file import SPACE, UNIGRAM, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import english_model, hand_made

BASE = SentencePieceTokenizer(hand_made([("a", -5.0), ("b", -6.0), (SPACE, -7.0), ("ab", -1.0)]))
OTHER = SentencePieceTokenizer(
    hand_made(
        [
            ("山", -1.0),
            ("水", -2.0),
            ("山水", -3.0),
            ("ab", -4.0),
            ("水山水", -5.0),
            ("石木", -6.0),
        ],
        kind=UNIGRAM,
    )
)


@pytest.mark.parametrize("scores", list(Scores))
def test_pieces_that_the_base_lacks_are_appended_in_order(scores: Scores) -> None:
    merged = merge_vocabularies(BASE, OTHER, scores)
    new = SentencePieceTokenizer(merged.model_bytes)
    assert new.pieces()[: BASE.vocab_size] == BASE.pieces()
    assert new.pieces()[BASE.vocab_size :] == ["山", "水", "山水", "水山水", "石木"]
    assert merged.num_added == 5
    assert merged.num_shared == OTHER.vocab_size - 5
    assert new.encode("ab山水")[-2:].tolist() == [BASE.vocab_size - 1, BASE.vocab_size + 2]


def test_ranked_scores_are_distinct_and_descend_and_zero_scores_are_zero() -> None:
    def added(scores: Scores) -> list[float]:
        model = parse_model(merge_vocabularies(BASE, OTHER, scores).model_bytes, origin="merged")
        return [piece.score for piece in model.pieces[BASE.vocab_size :]]

    ranked = added(Scores.ranked)
    assert ranked == sorted(set(ranked), reverse=True)
    assert added(Scores.zero) == [0.0] * 5


def test_unreachable_pieces_are_named() -> None:
    # Unigram needs no parts: nothing merges into 水山水, since 山水 goes first and 水+山水 is fine,
    # but 木 of 石木 joins as a bare character, which sentencepiece allows.
    merged = merge_vocabularies(BASE, OTHER, Scores.ranked)
    new = SentencePieceTokenizer(merged.model_bytes)
    for piece in new.pieces()[BASE.vocab_size :]:
        token = new.pieces().index(piece)
        reached = token in new.encode(piece).tolist()
        assert reached == (piece not in merged.unreachable)
    lost = SentencePieceTokenizer(hand_made([("x", -1.0), ("xyzw", -2.0)], kind=UNIGRAM))
    assert merge_vocabularies(BASE, lost, Scores.ranked).unreachable == ("xyzw",)


def test_a_base_that_is_not_bpe_is_refused() -> None:
    with pytest.raises(ConfigError, match="not BPE"):
        merge_vocabularies(OTHER, BASE, Scores.zero)


def test_merging_twice_adds_nothing() -> None:
    english = SentencePieceTokenizer(english_model())
    once = SentencePieceTokenizer(merge_vocabularies(english, OTHER, Scores.ranked).model_bytes)
    twice = merge_vocabularies(once, OTHER, Scores.ranked)
    assert twice.num_added == 0
    assert SentencePieceTokenizer(twice.model_bytes).pieces() == once.pieces()
