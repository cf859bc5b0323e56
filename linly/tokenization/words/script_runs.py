"""Runs of a script in texts, as tokens of a vocabulary: what words are learned from.

Words are learned on the tokens of the base, not on characters. So its normalizer, its
pre-tokenizer and its own words of the script are accounted for, and every learned merge joins two
tokens that really occur side by side. A token belongs to a run if it is whole characters of the
script. Byte tokens never do: a merge of bytes would reach characters of other scripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.model_file import SPACE
from linly.tokenization.tokenizer import Tokenizer
from linly.tokenization.words.scripts import Script

BETWEEN = -1
"""Separator of runs in an array of ids."""

_TEXTS_AT_ONCE = 64


class RunFinder:
    """Finds runs of a script in texts, under one vocabulary."""

    def __init__(self, base: Tokenizer, script: Script) -> None:
        """Classify the vocabulary's tokens."""
        self._base = base
        self._is_inner = np.zeros(base.vocab_size, np.bool_)
        self._is_head = np.zeros(base.vocab_size, np.bool_)
        for token in range(base.vocab_size):
            if not base.is_text(token):
                continue
            text = base.readable(token).replace(SPACE, " ")
            rest = text.removeprefix(" ")
            if rest == text:
                self._is_inner[token] = bool(text) and script.characters.issuperset(text)
            elif script.is_spaced:
                self._is_head[token] = script.characters.issuperset(rest)

    def runs(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Ids of all runs of two tokens or more, each after a `BETWEEN`: int32 [n]."""
        texts = iter(texts)
        parts = [np.array([BETWEEN], np.int32)]
        while batch := list(islice(texts, _TEXTS_AT_ONCE)):
            parts += map(self._of_text, self._encoded(batch))
        return np.concatenate(parts)

    def _encoded(self, texts: list[str]) -> Iterator[NDArray[np.int32]]:
        """Ids of each text, with `BETWEEN` where a pre-tokenizer separates two."""
        if not isinstance(self._base, ByteLevelTokenizer):
            yield from self._base.encode_batch(texts)
            return
        for encoded in self._base.hugging_face.encode_batch(texts, add_special_tokens=False):
            words = np.array(encoded.word_ids, np.float64)  # None becomes NaN, which differs
            (ends,) = np.nonzero(words[1:] != words[:-1])
            yield np.insert(np.array(encoded.ids, np.int32), ends + 1, BETWEEN)

    def _of_text(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        is_head = self._is_head[ids] & (ids != BETWEEN)
        is_inner = self._is_inner[ids] & (ids != BETWEEN)
        follows = np.zeros(len(ids), np.bool_)  # whether the token continues the one before
        follows[1:] = is_inner[1:] & (is_inner | is_head)[:-1]
        is_first = (is_head | is_inner) & ~follows
        is_first[:-1] &= follows[1:]
        is_first[-1:] = False
        kept = is_first | follows
        (firsts,) = np.nonzero(is_first[kept])
        return np.insert(ids[kept], firsts, BETWEEN)


def unknown_characters(
    base: Tokenizer, script: Script, texts: Iterable[str]
) -> tuple[Counter[str], int]:
    """Characters of the script in texts without a token of their own, and the number of all."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    found = {c: n for c, n in counts.items() if c in script.characters}
    known = set(map(base.readable, range(base.vocab_size)))
    return Counter({c: n for c, n in found.items() if c not in known}), sum(found.values())
