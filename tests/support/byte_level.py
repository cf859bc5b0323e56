"""Byte-level vocabularies trained on real text, with the pre-tokenizers of published models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from linly.tokenization.byte_level import ByteLevelTokenizer, to_letters
from linly.tokenization.growth.byte_merges import extend_byte_level
from linly.tokenization.growth.characters import standard_characters
from linly.tokenization.growth.reachable import dead_characters

_QWEN_2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_3 = _QWEN_2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
PRE_TOKENIZERS: dict[str, Sequence[pre_tokenizers.PreTokenizer]] = {
    "qwen2": (
        pre_tokenizers.Split(tokenizers.Regex(_QWEN_2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ),
    "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False),),
    "llama-bpe": (
        pre_tokenizers.Split(tokenizers.Regex(_LLAMA_3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ),
    "falcon": (
        pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(tokenizers.Regex("[0-9][0-9][0-9]"), "isolated"),
    ),
}
"""Pre-tokenizers by llama.cpp's names."""

END = "<|endoftext|>"
_CHECKED = range(0x3000, 0xA000)
"""Code points to verify an extension on: a tenth of the time of all."""


def train_byte_level(
    folder: Path, pre_tokenizer: str, texts: Sequence[str], *, size: int = 4000
) -> ByteLevelTokenizer:
    """Train a vocabulary and write it into a new folder.

    Args:
        folder: Folder to create.
        pre_tokenizer: Name in `PRE_TOKENIZERS`.
        texts: Text to train on.
        size: Number of pieces, without the end-of-text token.
    """
    made = tokenizers.Tokenizer(models.BPE(ignore_merges=pre_tokenizer == "llama-bpe"))
    made.pre_tokenizer = pre_tokenizers.Sequence(list(PRE_TOKENIZERS[pre_tokenizer]))
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.add_special_tokens([END])
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    return ByteLevelTokenizer.load(folder)


def with_new_characters(base: ByteLevelTokenizer, *, count: int = 1000) -> ByteLevelTokenizer:
    """A vocabulary with the first characters of GB2312 that it lacks and that text can give."""
    known = base.json["model"]["vocab"]
    characters = [
        character
        for character in standard_characters(["gb2312"])
        if character >= "一" and to_letters(character.encode()) not in known
    ]
    dead = dead_characters(base, characters)
    chosen = [character for character in characters if character not in dead][:count]
    return extend_byte_level(base, chosen, tried=_CHECKED).tokenizer
