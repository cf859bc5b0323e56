"""Find pieces that text never produces (dead tokens), before a vocabulary is extended.

A vocabulary may rewrite a text before the look-up (NFKC changes "，" to ","), a `word` model looks
up only whole words, and a pre-tokenizer may separate a character's bytes. A piece is reachable if
the tokens of some text include it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from linly.tokenization.byte_level import ByteLevelTokenizer, to_letters
from linly.tokenization.model_file import NORMAL, SPACE, WORD, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer, load_processor
from linly.tokenization.tokenizer import Tokenizer

_AROUND = ("", "a", "1", "\n", ".", "一")
"""Neighbours to try a character between: a piece may join it to one of them, but not to all."""

_CODE_POINTS = (*range(1, 0xD800), *range(0xE000, 0x110000))


def dead_characters(base: Tokenizer, characters: Sequence[str]) -> dict[str, str]:
    """Characters that text would never produce if `base` had a piece for each, with reasons.

    Args:
        base: The vocabulary to extend.
        characters: Single characters without a piece in it.
    """
    if isinstance(base, ByteLevelTokenizer):
        return {**_cut_apart(base, characters), **_changed_by(base, characters)}
    assert isinstance(base, SentencePieceTokenizer)
    model = parse_model(base.model_bytes, origin="base")
    trial = load_processor(with_characters(base, characters), "base with the new characters")
    first = len(model.pieces)
    missing = {token: c for token, c in enumerate(characters, start=first)}
    for texts in _trials(characters):
        if not missing:
            return {}
        for ids in trial.encode(texts):
            for token in ids:
                missing.pop(token, None)
    normalize = load_processor(base.model_bytes, "base").normalize
    is_by_words = model.trainer_spec.model_type == WORD
    return {c: _reason(c, normalize, is_by_words=is_by_words) for c in missing.values()}


def _trials(characters: Sequence[str]) -> Iterator[list[str]]:
    """Texts that may produce the characters; last all of Unicode, since rules may rewrite it."""
    for around in _AROUND:
        yield [f"{around}{character}{around}" for character in characters]
    yield [chr(code) for code in _CODE_POINTS]


def _reason(character: str, normalize: Any, *, is_by_words: bool) -> str:
    normal = normalize(f"a{character}").replace(SPACE, " ").strip().removeprefix("a")
    if normal != character:
        return f"the normalizer changes it to {normal!r}" if normal else "the normalizer removes it"
    if is_by_words:
        return "a word model looks up only whole words"
    return "it is always part of another piece"


def _changed_by(base: ByteLevelTokenizer, characters: Sequence[str]) -> dict[str, str]:
    normalizer = base.hugging_face.normalizer
    if normalizer is None:
        return {}
    normal = {character: normalizer.normalize_str(character) for character in characters}
    return {c: f"the normalizer changes it to {n!r}" for c, n in normal.items() if n != c}


def _cut_apart(base: ByteLevelTokenizer, characters: Sequence[str]) -> dict[str, str]:
    """Characters whose bytes the pre-tokenizer separates, so that no merge joins them.

    Falcon's rule for digits runs on the letters of bytes, and takes those of B2, B3, B9 and BC to
    BE (superscripts and fractions) to be digits.
    """
    cut = base.hugging_face.pre_tokenizer
    if cut is None:
        return {}
    return {
        character: "the pre-tokenizer separates its bytes"
        for character in characters
        if not any(
            to_letters(character.encode()) in letters
            for around in _AROUND
            for letters, _ in cut.pre_tokenize_str(f"{around}{character}{around}")
        )
    }


def with_characters(base: SentencePieceTokenizer, characters: Sequence[str]) -> bytes:
    """Append a piece for each character: type NORMAL, with a score below all others."""
    model = parse_model(base.model_bytes, origin="base")
    lowest = min(piece.score for piece in model.pieces if piece.type == NORMAL)
    score = float(np.nextafter(np.float32(lowest), np.float32(-np.inf)))
    for character in characters:
        model.pieces.add(piece=character, score=score, type=NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return bytes(model.SerializeToString())


def unreachable_pieces(model: Any, *, first: int = 0) -> tuple[str, ...]:
    """Ordinary pieces of a BPE model from id `first` on that text never produces.

    If any text produces a BPE piece, its own text alone produces it too, because the merges that
    form it are within it. A piece that the normalizer changes is never looked up.
    """
    bare = type(model)()
    bare.CopyFrom(model)
    bare.normalizer_spec.add_dummy_prefix = False
    bare.normalizer_spec.remove_extra_whitespaces = False
    by_merges = load_processor(bare.SerializeToString(), "merged vocabulary")
    normalize = load_processor(model.SerializeToString(), "merged vocabulary").normalize
    found = []
    for token, piece in enumerate(model.pieces):
        if token < first or piece.type != NORMAL:
            continue
        text = piece.piece.replace(SPACE, " ")
        is_kept = piece.piece in normalize(f".{text}.")
        if not is_kept or by_merges.encode(text) != [token]:
            found.append(piece.piece)
    return tuple(found)
