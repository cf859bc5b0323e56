"""linly.tokenization.continuation: special tokens by name, and text that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.tokenization.continuation import continued_prefix, special_id
from linly.tokenization.growth.new_vocabulary import VocabularySpec, train_vocabulary
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.chat_templates import LLAMA3, write_byte_level
from tests.support.vocabularies import ENGLISH, HARD_TEXTS, english_model


def write(folder: Path, model: bytes) -> Tokenizer:
    (folder / "a.model").write_bytes(model)
    return load_tokenizer(folder / "a.model")


def go_on(tokenizer: Tokenizer, text: str) -> list[int]:
    prefix, num = continued_prefix(tokenizer)
    return tokenizer.encode(prefix + text).tolist()[num:]


@pytest.mark.parametrize("text", [*HARD_TEXTS, *ENGLISH[:3], "山", "\ue000"])
def test_text_goes_on_without_the_space_that_begins_a_text(tmp_path: Path, text: str) -> None:
    tokenizer = write(tmp_path, english_model())
    # What begins with a space has that one in place of the prefix.
    assert go_on(tokenizer, " " + text) == (
        tokenizer.encode(text).tolist() or go_on(tokenizer, " ")
    )
    assert len(go_on(tokenizer, " ")) == 1
    assert tokenizer.decode(go_on(tokenizer, "x" + text)) == "x" + text.replace("\u2581", " ")


def test_a_byte_level_vocabulary_needs_no_prefix(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_byte_level(tmp_path, LLAMA3))
    assert continued_prefix(tokenizer) == ("", 0)
    assert tokenizer.piece(special_id(tokenizer, "<|eot_id|>")) == "<|eot_id|>"
    assert special_id(tokenizer, "<|eot_id|>") == tokenizer.eos_id


def test_special_tokens_have_the_ids_of_the_vocabulary(tmp_path: Path) -> None:
    tokenizer = write(tmp_path, english_model())
    assert (special_id(tokenizer, "<s>"), special_id(tokenizer, "</s>")) == (1, 2)
    with pytest.raises(ConfigError, match=r"'<\|eot_id\|>', which the vocabulary of 400 pieces"):
        special_id(tokenizer, "<|eot_id|>")


def test_without_byte_fallback_it_is_refused(tmp_path: Path) -> None:
    """Two unknown characters in a row are one <unk>: the second would be lost."""
    spec = VocabularySpec(240, coverage=1.0, byte_fallback=False)
    tokenizer = write(tmp_path, train_vocabulary(ENGLISH, spec))
    assert len(tokenizer.encode("山水")) == len(tokenizer.encode("山"))
    with pytest.raises(ConfigError, match="need a vocabulary with byte fallback"):
        continued_prefix(tokenizer)
