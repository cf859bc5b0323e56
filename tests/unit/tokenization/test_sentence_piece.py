"""Ids are sentencepiece's own, whatever the text and the vocabulary."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vocabularies import ENGLISH, HARD_TEXTS, english_model, hand_made

from linly.errors import ConfigError, DataError
from linly.tokenization import word_cache
from linly.tokenization.model_file import SPACE, UNIGRAM
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer

ENGLISH_MODEL = english_model()
ENGLISH_TOKENIZER = SentencePieceTokenizer(ENGLISH_MODEL)


def bare(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return processor


BARE = bare(ENGLISH_MODEL)
BLANK_HEAVY = st.text(
    st.sampled_from([" ", "\n", "\t", "\r", SPACE, "t", "h", "e", ".", "1", "山", "\u3000", "\x00"])
    | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)


@pytest.mark.parametrize("text", HARD_TEXTS + ENGLISH[:5])
def test_ids_equal_sentencepiece_on_hard_texts(text: str) -> None:
    for _ in range(2):  # without and with the words in the cache
        assert ENGLISH_TOKENIZER.encode(text).tolist() == BARE.encode(text)


@settings(max_examples=500, deadline=None)
@given(BLANK_HEAVY)
def test_ids_equal_sentencepiece_on_any_text(text: str) -> None:
    assert ENGLISH_TOKENIZER.encode(text).tolist() == BARE.encode(text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(" \nabAB."), max_size=80))
def test_ids_equal_sentencepiece_where_words_share_prefixes(text: str) -> None:
    assert ENGLISH_TOKENIZER.encode(text).tolist() == BARE.encode(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([" ", "\n", "the", "a", "山水", ".", SPACE, "  x"]), max_size=60))
def test_a_long_text_encoded_in_parts_has_the_same_ids(parts: list[str]) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_cache, "LONG_CHARACTERS", 8)
        assert ENGLISH_TOKENIZER.encode(text).tolist() == BARE.encode(text)


def test_parts_begin_where_words_and_lines_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "LONG_CHARACTERS", 8)
    text = "the old  bridge\nunder山水rain   \nwalks"
    parts = word_cache.parts_of(text)
    assert parts == ["the old", "  bridge", "\nunder山水rain", "   \nwalks"]
    assert "".join(parts) == text


def test_the_cache_is_in_use_for_english() -> None:
    tokenizer = SentencePieceTokenizer(ENGLISH_MODEL)
    tokenizer.encode("the river walks")
    assert tokenizer._cache is not None
    assert set(tokenizer._cache._words) == {"the", "river", "walks"}


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([("a", -3.0), (SPACE, -4.0), (f"a{SPACE}", -1.0), (f"a{SPACE}a", -2.0)], "a a a"),
        ([("a", -3.0), (SPACE, -4.0), ("\n", -5.0), ("a\n", -1.0), ("\n\n", -2.0)], "a\n\n a\n"),
    ],
)
def test_a_piece_over_a_cut_falls_back_to_sentencepiece(
    pieces: list[tuple[str, float]], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hand_made(pieces)
    tokenizer = SentencePieceTokenizer(model)
    assert tokenizer.why_no_cache is not None
    assert "spans a word start or a newline" in tokenizer.why_no_cache
    assert tokenizer.encode(text).tolist() == bare(model).encode(text)
    # The check is what keeps it right: by words, the ids are others or no word has its own.
    monkeypatch.setattr("linly.tokenization.sentence_piece.why_not_by_words", lambda _: None)
    with pytest.raises((AssertionError, ValueError)):
        assert SentencePieceTokenizer(model).encode(text).tolist() == bare(model).encode(text)


def test_vocabularies_that_change_text_or_are_not_bpe_are_not_cached() -> None:
    assert (
        SentencePieceTokenizer(hand_made([("a", -1.0)], kind=UNIGRAM)).why_no_cache
        == "it is not BPE"
    )
    model = sentencepiece.sentencepiece_model_pb2.ModelProto.FromString(ENGLISH_MODEL)
    model.normalizer_spec.remove_extra_whitespaces = True
    changed = model.SerializeToString()
    assert "changes text" in (SentencePieceTokenizer(changed).why_no_cache or "")
    for text in HARD_TEXTS:
        assert SentencePieceTokenizer(changed).encode(text).tolist() == bare(changed).encode(text)


def test_without_a_dummy_prefix_none_is_added() -> None:
    model = hand_made([("a", -2.0), (SPACE, -3.0), (f"{SPACE}a", -1.0)], add_dummy_prefix=False)
    for text in ("a", " a", "a a", "a  a\n a"):
        assert SentencePieceTokenizer(model).encode(text).tolist() == bare(model).encode(text)


def test_the_cache_is_bounded_and_forgets_rare_words_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(word_cache, "GENERATION_WORDS", 20)
    tokenizer = SentencePieceTokenizer(ENGLISH_MODEL)
    cache = tokenizer._cache
    assert cache is not None
    for number in range(500):
        text = f"the number {number} is here"
        assert tokenizer.encode(text).tolist() == BARE.encode(text)
        assert len(cache._words) + len(cache._old) <= 40
    assert "the" in cache._words or "the" in cache._old


def test_long_and_unspaced_words_are_not_kept() -> None:
    tokenizer = SentencePieceTokenizer(ENGLISH_MODEL)
    text = "the 山水日月 river 山 " + "x" * 100 + " walks the the the the the the 水"
    assert tokenizer.encode(text).tolist() == BARE.encode(text)
    assert tokenizer._cache is not None
    assert set(tokenizer._cache._words) == {"the", "river", "walks"}


def test_a_batch_is_each_text_in_order() -> None:
    ids = ENGLISH_TOKENIZER.encode_batch(HARD_TEXTS)
    assert [part.tolist() for part in ids] == [BARE.encode(text) for text in HARD_TEXTS]
    assert all(part.dtype == np.int32 for part in ids)


MIXED_BATCH = [
    "the river 山水日月 in words 风云 unheard-of walks, slowly",  # runs between words
    "the river walks under the old bridge 山水",  # a run at the end
    "山水日月风云雨雪花草木石天地人江河海",  # no words
    "山 水 日 月 风 云 雨 雪 the",  # spaces, but between characters of a script without words
    "",
    "a" * 60 + " the " + "b" * 60 + " 雨 " + "c" * 60,  # too long to be kept, beside each other
    f"the{SPACE}river {SPACE} walks{SPACE}{SPACE} x",
    "the river the river unheard-of",
]


def test_a_batch_of_several_scripts_is_what_sentencepiece_makes_of_it() -> None:
    tokenizer = SentencePieceTokenizer(ENGLISH_MODEL)
    for _ in range(2):  # without and with the words in the cache
        found = [ids.tolist() for ids in tokenizer.encode_batch(MIXED_BATCH)]
        assert found == [BARE.encode(text) for text in MIXED_BATCH]


def test_without_words_the_ids_are_the_same_and_nothing_is_kept() -> None:
    tokenizer = SentencePieceTokenizer(ENGLISH_MODEL, by_words=False)
    found = [ids.tolist() for ids in tokenizer.encode_batch(MIXED_BATCH)]
    assert found == [BARE.encode(text) for text in MIXED_BATCH]
    assert tokenizer._cache is None


def test_a_new_word_of_a_batch_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = SentencePieceTokenizer(ENGLISH_MODEL)
    cache = tokenizer._cache
    assert cache is not None
    asked: list[str] = []
    encode = cache._encode

    def asking(text: str) -> NDArray[np.int32]:
        asked.append(text)
        return encode(text)

    monkeypatch.setattr(cache, "_encode", asking)
    tokenizer.encode_batch(["the river the", "the river", "river the"])
    assert sorted("".join(asked).split()) == ["river", "the"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" the river", ["", "the", "river"]),
        ("the river", ["the", "river"]),
        (" the\nriver", ["", "the", "\nriver"]),
        (" a  b   c", ["", "a", f"{SPACE}b", f"{SPACE}{SPACE}c"]),
        (" a \n\n   b ", ["", "a", "", "\n", "\n", f"{SPACE}{SPACE}b", ""]),
        ("    a", ["", f"{SPACE}{SPACE}{SPACE}a"]),
        ("\n", ["", "\n"]),
        ("", [""]),
    ],
)
def test_a_word_stands_for_the_space_before_it_or_begins_with_a_newline(
    text: str, words: list[str]
) -> None:
    assert word_cache.words_of(text) == words
    spelled = [word if word.startswith("\n") else " " + word for word in words[1:]]
    assert (words[0] + "".join(spelled)).replace(SPACE, " ") == text


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from(" \nab"), max_size=40))
def test_words_are_the_stretches_that_may_be_encoded_by_themselves(text: str) -> None:
    words = word_cache.words_of(text)
    spelled = [word if word.startswith("\n") else " " + word for word in words[1:]]
    found = [
        stretch
        for word in [words[0], *spelled]
        for stretch in re.findall(r" *[^ \n]+|\n| +", word.replace(SPACE, " "))
    ]
    assert found == re.findall(r" *[^ \n]+|\n| +", text)


def test_a_vocabulary_without_a_piece_for_a_space_is_not_cut_into_words() -> None:
    model = hand_made([("a", -1.0), ("b", -2.0)])
    tokenizer = SentencePieceTokenizer(model)
    assert tokenizer.why_no_cache == "it has no piece for a space"
    assert tokenizer.encode("a b  a").tolist() == bare(model).encode("a b  a")


def test_decode_gives_the_text_back() -> None:
    for text in ENGLISH:
        assert ENGLISH_TOKENIZER.decode(ENGLISH_TOKENIZER.encode(text)) == text


def test_a_lone_surrogate_is_an_error_that_says_where() -> None:
    with pytest.raises(DataError, match=r"U\+D800 at character 4"):
        ENGLISH_TOKENIZER.encode("the \ud800")
    for bad in ("the \ud800", "山水日月\ud800"):
        with pytest.raises(DataError, match=r"U\+D800 at character 4"):
            ENGLISH_TOKENIZER.encode_batch(["the river", bad, "in the rain"])


def test_loads_a_file_or_a_folder_and_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(ENGLISH_MODEL)
    by_folder = Tokenizer.load(tmp_path)
    assert by_folder.fingerprint == Tokenizer.load(tmp_path / "tokenizer.model").fingerprint
    assert (by_folder.bos_id, by_folder.eos_id, by_folder.pad_id) == (1, 2, None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="its model is not BPE"):
        Tokenizer.load(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"tokenizer\.json only"):
        SentencePieceTokenizer.load(tmp_path / "other")
    with pytest.raises(ConfigError, match="no such file"):
        Tokenizer.load(tmp_path / "nowhere.model")
    (tmp_path / "bad.model").write_bytes(b"\x00\x01 no model")
    with pytest.raises(ConfigError, match="not a sentencepiece model"):
        Tokenizer.load(tmp_path / "bad.model")


def test_tokenizing_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, pkgutil, importlib, linly.tokenization as t\n"
        "for m in pkgutil.iter_modules(t.__path__, 'linly.tokenization.'):\n"
        "    importlib.import_module(m.name)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
