"""Load a vocabulary of either kind, from files or from bytes."""

from __future__ import annotations

from pathlib import Path

from linly.tokenization.byte_level import ByteLevelTokenizer, is_bundle, is_byte_level_path
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a vocabulary.

    Args:
        path: A sentencepiece `.model` file, a `tokenizer.json`, or a folder that holds either; if
            it holds both, the sentencepiece model is read, since the other was made from it.

    Raises:
        ConfigError: If there is none, or it cannot be read as a vocabulary.
    """
    if is_byte_level_path(path):
        return ByteLevelTokenizer.load(path)
    return SentencePieceTokenizer.load(path)


def tokenizer_from_bytes(model_bytes: bytes, *, origin: str = "model") -> Tokenizer:
    """Restore a vocabulary from its `model_bytes`; `origin` names it in errors."""
    if is_bundle(model_bytes):
        return ByteLevelTokenizer(model_bytes, origin=origin)
    return SentencePieceTokenizer(model_bytes, origin=origin)
