"""By words the ids are those of the whole text, whatever the vocabulary; and memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentencepiece import sentencepiece_model_pb2

from linly.tokenization import word_cache
from linly.tokenization.model_file import NORMAL, SPACE, UNUSED, USER_DEFINED
from linly.tokenization.word_cache import WordCache, cuttable, why_not_by_words
from linly.tokenization.word_table import KEY_BYTES
from tests.support.vocabularies import ENGLISH, HARD_TEXTS, english_model, hand_made

LETTERS = " ab.1é山水"


def parsed(model: bytes) -> Any:
    return sentencepiece_model_pb2.ModelProto.FromString(model)


def processor_of(model: Any) -> Any:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model.SerializeToString())
    return processor


def cached(
    model: Any, *, asked: Callable[[bytes], object] = lambda text: None
) -> tuple[WordCache, Any]:
    """A cache over a vocabulary, `asked` is told what it asks of sentencepiece; and that itself."""
    prefix = b" " if model.normalizer_spec.add_dummy_prefix else b""
    bare = parsed(model.SerializeToString())
    bare.normalizer_spec.add_dummy_prefix = False
    processor = processor_of(bare)

    def encode(text: bytes) -> NDArray[np.int32]:
        asked(text)
        ids: NDArray[np.int32] = processor.encode_as_numpy(text)
        return ids

    return WordCache(encode, cuttable(model), prefix=prefix), processor_of(model)


def lists(found: Sequence[NDArray[np.int32]]) -> list[list[int]]:
    assert all(ids.dtype == np.int32 for ids in found)
    return [ids.tolist() for ids in found]


@st.composite
def vocabularies(draw: st.DrawFn) -> Any:
    """BPE over a few letters: any pieces with any scores, some never used, some never split."""
    texts = draw(st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=25, unique=True))
    model = parsed(hand_made([], add_dummy_prefix=draw(st.booleans())))
    singles = draw(st.sets(st.sampled_from(LETTERS)))
    for text in {*texts, *singles}:
        kinds = [NORMAL] * 6 + [UNUSED, USER_DEFINED]
        kind = draw(st.sampled_from(kinds)) if len(text) > 1 else NORMAL
        score = -draw(st.integers(0, 20))
        model.pieces.add(piece=text.replace(" ", SPACE), score=score, type=kind)
    return model


PARTS = [*LETTERS, "\n", "\0", SPACE, "💧", "ab", "a b", "x"]
TEXTS = st.lists(st.lists(st.sampled_from(PARTS), max_size=40).map("".join), max_size=8)


@settings(max_examples=600, deadline=None)
@given(vocabularies(), TEXTS)
def test_ids_equal_sentencepiece_under_any_vocabulary(model: Any, texts: list[str]) -> None:
    assert why_not_by_words(model) is None
    cache, processor = cached(model)
    for _ in range(2):  # without and with the words in the cache
        assert lists(cache.encode(texts)) == [processor.encode(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(vocabularies(), TEXTS, st.integers(1, 9), st.integers(1, 5))
def test_ids_are_the_same_however_much_is_done_at_once(
    model: Any, texts: list[str], cut_at_once: int, words_at_once: int
) -> None:
    cache, processor = cached(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_cache, "CUT_AT_ONCE", cut_at_once)
        patch.setattr(word_cache, "WORDS_AT_ONCE", words_at_once)
        patch.setattr(word_cache, "GROUP_WORDS", 2)
        assert lists(cache.encode(texts)) == [processor.encode(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(vocabularies(), TEXTS)
def test_ids_are_the_same_when_no_text_goes_whole(model: Any, texts: list[str]) -> None:
    cache, processor = cached(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_cache, "MAX_BYTES_PER_WORD", 1 << 30)
        longer = [text * 7 for text in texts]  # words of more than KEY_BYTES among them
        for _ in range(2):
            assert lists(cache.encode(longer)) == [processor.encode(text) for text in longer]


@pytest.mark.parametrize("piece", ["a\n", "\n\n", "\na"])
def test_a_piece_with_a_newline_among_others_is_refused(piece: str) -> None:
    model = parsed(hand_made([("a", -3.0), (SPACE, -4.0), ("\n", -5.0), (piece, -1.0)]))
    assert why_not_by_words(model) == f"its piece {piece!r} contains a newline"


def test_the_refusal_is_what_keeps_ids_right() -> None:
    pieces = [("a", -3.0), (SPACE, -4.0), ("\n", -5.0), ("a\n", -1.0), ("\n\n", -2.0)]
    model, text = parsed(hand_made(pieces)), "a\n\n a\n"
    cache, processor = cached(model)
    with pytest.raises((AssertionError, ValueError)):  # other ids, or no word has its own
        assert lists(cache.encode([text])) == [processor.encode(text)]


def test_a_vocabulary_of_phrases_is_exact_too() -> None:
    pieces = [("a", -3.0), (SPACE, -4.0), (f"a{SPACE}", -1.0), (f"a{SPACE}a", -2.0), ("b", -9.0)]
    cache, processor = cached(parsed(hand_made(pieces)))
    for text in ("a a a", "aa a b", " a  a"):
        assert lists(cache.encode([text])) == [processor.encode(text)]


ENGLISH_MODEL = parsed(english_model())


def test_english_is_cut_into_words_and_each_is_encoded_once() -> None:
    asked: list[bytes] = []
    cache, processor = cached(ENGLISH_MODEL, asked=asked.append)
    texts = ["the river, the (river)", "the river", "river the"]
    assert lists(cache.encode(texts)) == [processor.encode(text) for text in texts]
    words = b"".join(asked).split(b"\n")
    assert len(words) == len(set(words))
    assert {b" the", b" river", b",", b"river", b")"} <= set(words)
    del asked[:]
    cache.encode(texts)
    assert asked == []


@pytest.mark.parametrize("text", HARD_TEXTS + ENGLISH)
def test_hard_texts_by_words_beside_others(text: str) -> None:
    cache, processor = cached(ENGLISH_MODEL)
    texts = ["the", text, "", text, "river"]
    assert lists(cache.encode(texts)) == [processor.encode(text) for text in texts]


def test_no_texts_give_no_ids() -> None:
    cache, _ = cached(ENGLISH_MODEL)
    assert cache.encode([]) == []
    assert lists(cache.encode(["", ""])) == [[], []]


PHRASE = "the lazy dog sings"
PHRASES = parsed(english_model())
PHRASES.pieces.add(piece=PHRASE.replace(" ", SPACE) * 2, score=-999, type=NORMAL)
"""English, but nothing is cut within the phrase."""


def test_long_words_are_not_kept_and_leave_nothing_behind() -> None:
    cache, processor = cached(PHRASES)
    text = "1 2 3 4 5 6 7 8 9, " * 9 + f"{PHRASE * 2}1{PHRASE * 3}"
    sizes = []
    for _ in range(3):
        assert lists(cache.encode([text])) == [processor.encode(text)]
        sizes.append(len(cache))
    words = " ", "1", "2", "3", "4", "5", "6", "7", "8", "9", ",", "\n"
    assert sizes == [len(words)] * 3
    assert len(PHRASE * 2) > KEY_BYTES


def test_a_text_of_long_words_goes_whole() -> None:
    asked: list[bytes] = []
    cache, processor = cached(PHRASES, asked=asked.append)
    whole = PHRASE * 9
    for text in ("the river", whole):
        assert lists(cache.encode([text])) == [processor.encode(text)]
    assert f" {whole}".encode() in asked


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MAX_WORDS", 12)
    cache, processor = cached(ENGLISH_MODEL)
    sizes = []
    for number in range(300):
        name = "".join(chr(ord("a") + int(digit)) for digit in f"{number:03}")
        text = f"the {name} is\nhere {name}"
        assert lists(cache.encode([text])) == [processor.encode(text)]
        sizes.append(len(cache))
    assert max(sizes) <= 12 + 8
    assert sum(after < before for before, after in pairwise(sizes)) > 3
