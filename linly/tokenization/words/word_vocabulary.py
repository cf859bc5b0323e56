"""Append learned words to a vocabulary of either kind, after all its own merges.

- sentencepiece: a piece per word, with a score below that of every other piece and of every word
  before it. sentencepiece merges any two neighbours that spell a piece, not only the two learned
  ones. A word that it never forms is left out, which changes no other one.
- byte-level: the learned merge per word, after all others. If the base already has a token with
  the word's bytes, the word is left out, with the words built on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from linly.errors import ConfigError
from linly.tokenization.byte_level import TOKENIZER_JSON, ByteLevelTokenizer
from linly.tokenization.growth.reachable import unreachable_pieces
from linly.tokenization.model_file import BPE, NORMAL, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.tokenization.words.word_merges import WordMerge


@dataclass(frozen=True, slots=True)
class WordVocabulary:
    """A vocabulary with words appended.

    Attributes:
        tokenizer: The new vocabulary; words have the ids from the base's size on.
        merges: The words, in the order of their ids.
    """

    tokenizer: Tokenizer
    merges: tuple[WordMerge, ...]


def why_no_words(base: Tokenizer) -> str | None:
    """Reason why words cannot be appended after a vocabulary's merges; None if they can."""
    if isinstance(base, ByteLevelTokenizer):
        return None
    assert isinstance(base, SentencePieceTokenizer)
    if parse_model(base.model_bytes, origin="base").trainer_spec.model_type != BPE:
        return "it is not BPE, so its pieces have no order of merges"
    return None


def usable_words(base: Tokenizer, merges: Sequence[WordMerge]) -> tuple[WordMerge, ...]:
    """Merges whose words a text can produce in the extended vocabulary, in the same order."""
    if isinstance(base, ByteLevelTokenizer):
        return _new_byte_words(base, merges)
    assert isinstance(base, SentencePieceTokenizer)
    known, kept = set(base.pieces()), []
    for merge in merges:
        piece = _spelled(base, merge.ids)
        if piece not in known:
            known.add(piece)
            kept.append(merge)
    model = _with_pieces(base, kept)
    dead = set(unreachable_pieces(model, first=base.vocab_size))
    return tuple(merge for merge in kept if _spelled(base, merge.ids) not in dead)


def append_words(base: Tokenizer, merges: Sequence[WordMerge]) -> WordVocabulary:
    """Append words that `usable_words` returned, or the first of them.

    Raises:
        ConfigError: If the vocabulary is not BPE.
    """
    reason = why_no_words(base)
    if reason is not None:
        raise ConfigError(f"words cannot be appended to this vocabulary: {reason}")
    if isinstance(base, ByteLevelTokenizer):
        new: Tokenizer = _append_byte_merges(base, merges)
    else:
        assert isinstance(base, SentencePieceTokenizer)
        new = SentencePieceTokenizer(bytes(_with_pieces(base, merges).SerializeToString()))
    return WordVocabulary(new, tuple(merges))


def _spelled(base: Tokenizer, ids: Sequence[int]) -> str:
    return "".join(map(base.piece, ids))


def _with_pieces(base: SentencePieceTokenizer, merges: Sequence[WordMerge]) -> Any:
    """The model with a piece per word, each score below all before."""
    model = parse_model(base.model_bytes, origin="base")
    lowest = np.float32(min(piece.score for piece in model.pieces if piece.type == NORMAL))
    # Twice the distance to the next number, so that scores remain distinct beyond a power of two.
    step = max(np.float32(1), 2 * abs(np.spacing(lowest)))
    for place, merge in enumerate(merges, start=1):
        score = float(np.float32(lowest - place * step))
        model.pieces.add(piece=_spelled(base, merge.ids), score=score, type=NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model


def _new_byte_words(base: ByteLevelTokenizer, merges: Sequence[WordMerge]) -> tuple[WordMerge, ...]:
    vocab: dict[str, int] = base.json["model"]["vocab"]
    left_out: set[tuple[int, ...]] = set()
    kept = []
    for merge in merges:
        if _spelled(base, merge.ids) in vocab or merge.left in left_out or merge.right in left_out:
            left_out.add(merge.ids)
        else:
            kept.append(merge)
    return tuple(kept)


def _append_byte_merges(
    base: ByteLevelTokenizer, merges: Sequence[WordMerge]
) -> ByteLevelTokenizer:
    model = base.json["model"]
    vocab: dict[str, int] = dict(model["vocab"])
    # The library numbers added tokens after model.vocab by itself, so they would move. Listed in
    # model.vocab they keep their ids.
    for added in base.json.get("added_tokens") or ():
        vocab.setdefault(added["content"], added["id"])
    pairs = [(_spelled(base, merge.left), _spelled(base, merge.right)) for merge in merges]
    for token, (left, right) in enumerate(pairs, start=base.vocab_size):
        vocab[left + right] = token
    old = model["merges"]
    as_text = bool(old) and isinstance(old[0], str)
    added_merges = [" ".join(pair) if as_text else list(pair) for pair in pairs]
    value = {**base.json, "model": {**model, "vocab": vocab, "merges": [*old, *added_merges]}}
    bundle = orjson.dumps({**base.files, TOKENIZER_JSON: value})
    return ByteLevelTokenizer(bundle, origin="vocabulary with words")
