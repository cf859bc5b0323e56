"""Ids are sentencepiece's own, whatever the text and the vocabulary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.errors import ConfigError, DataError
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.model_file import SPACE, UNIGRAM
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import ENGLISH, HARD_TEXTS, english_model, hand_made

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
    by_folder = load_tokenizer(tmp_path)
    assert by_folder.fingerprint == load_tokenizer(tmp_path / "tokenizer.model").fingerprint
    assert (by_folder.bos_id, by_folder.eos_id, by_folder.pad_id) == (1, 2, None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="its model is not BPE"):
        load_tokenizer(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"only a tokenizer\.json"):
        SentencePieceTokenizer.load(tmp_path / "other")
    with pytest.raises(ConfigError, match="no such file"):
        load_tokenizer(tmp_path / "nowhere.model")
    (tmp_path / "bad.model").write_bytes(b"\x00\x01 no model")
    with pytest.raises(ConfigError, match="not a sentencepiece model"):
        load_tokenizer(tmp_path / "bad.model")


def test_tokenizing_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, pkgutil, importlib, linly.tokenization as t\n"
        "for m in pkgutil.iter_modules(t.__path__, 'linly.tokenization.'):\n"
        "    importlib.import_module(m.name)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
