"""Vocabularies of real text of all kinds: LLaMA's, grown from it, and byte-level ones."""

from __future__ import annotations

from pathlib import Path

from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    choose_characters,
    standard_characters,
)
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.growth.merge import Scores, merge_vocabularies
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.byte_level import train_byte_level, with_new_characters


def real_vocabularies(
    real_data: Path, texts: list[str], place: Path, pre_tokenizers: tuple[str, ...]
) -> dict[str, Tokenizer]:
    """Build the vocabularies.

    Args:
        real_data: Folder of real text, which holds the sentencepiece models too.
        texts: Texts for the byte-level vocabularies.
        place: Folder that the byte-level vocabularies are written to.
        pre_tokenizers: Pre-tokenizers of the byte-level vocabularies.
    """
    characters = list(standard_characters(DEFAULT_STANDARDS))
    folder = real_data / "tokenizers"
    llama = SentencePieceTokenizer.load(folder / "llama" / "tokenizer.model")
    chinese = SentencePieceTokenizer.load(folder / "chinese_sp" / "chinese_sp.model")
    chosen = choose_characters(characters, llama.pieces(), count=8076)
    byte_level = {name: train_byte_level(place / name, name, texts) for name in pre_tokenizers}
    return {
        "llama": llama,
        "characters": SentencePieceTokenizer(extend_vocabulary(llama, chosen)),
        "merged": SentencePieceTokenizer(
            merge_vocabularies(llama, chinese, Scores.ranked).model_bytes
        ),
        **byte_level,
        **{f"{name}-extended": with_new_characters(base) for name, base in byte_level.items()},
    }
