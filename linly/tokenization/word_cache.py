r"""Encoding word by word through a cache, where a vocabulary allows it: same ids, but faster.

sentencepiece's BPE merges over the whole text, which is slow on long English documents. Where no
piece spans the start of a word or a newline, no merge crosses a cut at ` *[^ \n]+|\n| +`, so
each stretch may be encoded by itself and its ids kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from linly.tokenization.model_file import BPE, NORMAL, SPACE, UNUSED, USER_DEFINED

GENERATION_WORDS = 1 << 18
"""Words of a generation, about 55 MB. Two are kept: when the young one is full it becomes the old
one, whose words come back as they are met again; so frequent words stay and rare ones leave."""

MAX_WORD_CHARACTERS = 48
"""Longer stretches (URLs, base64) hardly ever come back."""

_STRETCH = re.compile(r" *[^ \n]+|\n| +")

# Scripts written without spaces: a stretch is a clause there, which never comes back, and
# sentencepiece itself is fast on these.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)

CHARACTERS_PER_SPACE = 16
"""A text with fewer spaces has few words to gain from; sentencepiece takes it whole."""

_SPANS_WORD_START = re.compile(f"[^{SPACE}]{SPACE}")


def why_not_by_words(model: Any) -> str | None:
    """Why a `ModelProto` cannot be encoded word by word; None when it can.

    The condition is checked on the vocabulary itself: BPE with byte fallback (unknown characters
    would be fused over cuts without it), a normalizer that leaves the text alone, and no piece
    that holds a newline or a word start inside.
    """
    normalizer = model.normalizer_spec
    if model.trainer_spec.model_type != BPE:
        return "it is not BPE"
    if not model.trainer_spec.byte_fallback:
        return "it has no byte fallback"
    if (
        normalizer.precompiled_charsmap
        or normalizer.remove_extra_whitespaces
        or not normalizer.escape_whitespaces
        or model.trainer_spec.treat_whitespace_as_suffix
    ):
        return f"its normalizer ({normalizer.name or 'unnamed'}) changes text"
    for piece in model.pieces:
        if piece.type not in (NORMAL, USER_DEFINED, UNUSED):
            continue
        text = piece.piece
        if _SPANS_WORD_START.search(text) or ("\n" in text and text != "\n"):
            return f"its piece {text!r} spans a word start or a newline"
    return None


class WordCache:
    """Encodes text stretch by stretch and remembers the stretches' ids."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        """`encode` gives the ids (int32, as bytes) of a stretch, without a dummy prefix."""
        self._encode = encode
        self._words: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def encode(self, text: str) -> bytes:
        """Ids of a text that holds no visible space character (U+2581): int32 [n], as bytes."""
        if text.count(" ") * CHARACTERS_PER_SPACE < len(text):
            return self._encode(text)
        words = _STRETCH.findall(text)
        known: list[Any] = list(map(self._words.get, words))
        try:
            return b"".join(known)
        except TypeError:  # a word that is not known yet
            self._fill(words, known)
            return b"".join(filter(None, known))

    def _fill(self, words: list[str], known: list[Any]) -> None:
        """Put ids for every None of `known`; stretches not worth keeping go together."""
        waiting: list[str] = []
        last = -1
        for index, word in enumerate(words):
            if known[index] is None:
                if len(word) <= MAX_WORD_CHARACTERS and not _UNSPACED.search(word):
                    known[index] = self._remember(word)
                else:
                    waiting.append(word)
                    last = index
                    continue
            if waiting:
                known[last] = self._encode("".join(waiting))
                waiting.clear()
        if waiting:
            known[last] = self._encode("".join(waiting))

    def _remember(self, word: str) -> bytes:
        ids = self._words.get(word)
        if ids is None:
            ids = self._old.get(word) or self._encode(word)
            if len(self._words) >= GENERATION_WORDS:
                self._old, self._words = self._words, {}
            self._words[word] = ids
        return ids
