"""A byte-level vocabulary gives the ids of the `tokenizers` library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.errors import ConfigError, DataError
from linly.tokenization.byte_level import BYTE_TO_LETTER, ByteLevelTokenizer, to_bytes, to_letters
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.load_tokenizer import load_tokenizer, tokenizer_from_bytes
from linly.tokenization.tokenizer import Tokenizer
from tests.support.vocabularies import (
    CHINESE,
    ENGLISH,
    HARD_TEXTS,
    byte_level_folder,
    english_model,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level_folder(tmp_path_factory.mktemp("bpe"), [*ENGLISH, *CHINESE * 3])


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def test_ids_are_those_of_the_library(folder: Path, tokenizer: Tokenizer) -> None:
    other = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in (*ENGLISH, *CHINESE, *HARD_TEXTS, "a <tool> b"):
        assert tokenizer.encode(text).tolist() == other.encode(text).ids
        assert tokenizer.encode(text).dtype == np.int32
    batch = tokenizer.encode_batch(ENGLISH)
    assert [ids.tolist() for ids in batch] == [other.encode(text).ids for text in ENGLISH]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_have_their_ids_and_are_text_in_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.piece(tokenizer.bos_id) == "<|begin|>"
    assert tokenizer.piece(tokenizer.eos_id) == "<|end|>"
    assert tokenizer.pad_id is None
    ids = tokenizer.encode("x<|end|>").tolist()
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == "x<|end|>"


def test_a_vocabulary_without_bos_takes_its_eos(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    config = {"bos_token": None, "eos_token": "<|end|>", "pad_token": "<|begin|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.bos_id == loaded.eos_id == loaded.encode("x")[0] * 0 + loaded.eos_id
    assert loaded.piece(loaded.pad_id or 0) == "<|begin|>"
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|nothing|>"}')
    with pytest.raises(ConfigError, match=r"'<\|nothing\|>' as eos_token, which is not a piece"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="does not name an eos_token"):
        load_tokenizer(tmp_path)


def test_it_travels_as_bytes_and_is_written_as_it_was(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert export_tokenizer(tokenizer, tmp_path).exact
    for again in (load_tokenizer(tmp_path), tokenizer_from_bytes(tokenizer.model_bytes)):
        assert isinstance(again, ByteLevelTokenizer)
        assert again.fingerprint == tokenizer.fingerprint
        assert again.pieces() == tokenizer.pieces()
    assert tokenizer_from_bytes(english_model()).fingerprint != tokenizer.fingerprint


def test_pieces_are_readable_and_parts_of_characters_are_known(tokenizer: Tokenizer) -> None:
    parts = tokenizer.partial_ids()
    assert len(parts) == tokenizer.vocab_size
    first = tokenizer.split(to_letters(b"\xe5"))[0]
    assert (tokenizer.readable(first), parts[first], tokenizer.is_text(first)) == (
        "<0xE5>",
        True,
        True,
    )
    whole = tokenizer.split(to_letters("中".encode()))
    assert [tokenizer.readable(token) for token in whole] == ["中"]
    assert not parts[whole[0]]
    assert not tokenizer.is_text(tokenizer.eos_id)
    assert not parts[tokenizer.eos_id]


def test_letters_for_bytes_are_gpt2s() -> None:
    assert (BYTE_TO_LETTER[0x20], BYTE_TO_LETTER[0x0A], BYTE_TO_LETTER[0xE4]) == ("Ġ", "Ċ", "ä")
    assert len(set(BYTE_TO_LETTER.values())) == 256
    assert to_bytes(to_letters(bytes(range(256)))) == bytes(range(256))
    assert to_bytes("中") is None


def test_a_lone_surrogate_is_an_error_that_says_where(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"U\+D800 at character 4"):
        tokenizer.encode("the \ud800")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "WordPiece", "vocab": {}}}, "its model is not BPE"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "its pre-tokenizer is not ByteLevel"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "no piece for 255 of the"),
    ],
)
def test_other_kinds_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    value = json.loads((folder / "tokenizer.json").read_text()) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=reason):
        load_tokenizer(tmp_path)


def test_added_tokens_whose_ids_the_library_would_move_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    value = json.loads((folder / "tokenizer.json").read_text())
    value["model"]["vocab"]["zzz"] = 999
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=r"added token '<\|begin\|>' has id 400 in the file"):
        load_tokenizer(tmp_path)
