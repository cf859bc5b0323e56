r"""Encoding word by word through a cache, where a vocabulary allows it: same ids, but faster.

sentencepiece's BPE merges over the whole text, which is slow on long documents. A merge makes a
piece of the vocabulary, so none crosses a place between two bytes that no piece has side by side.
A text is cut at all such places; each *word* between two cuts may be encoded by itself, and its
ids kept. With LLaMA's pieces a word is a space and the letters behind it, the letters behind a
sign, signs, one digit, or one character of a script that it has only single characters of.

All words of a batch are cut, looked up and joined in a few array operations (`word_table`); those
that are met for the first time go to sentencepiece, many as one text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linly.tokenization.model_file import BPE, NORMAL, SPACE, UNUSED, USER_DEFINED
from linly.tokenization.word_table import KEY_BYTES, WordTable, distinct, keys_at

MAX_WORDS = 900_000
"""A table that holds more is emptied before the next batch; it takes about 80 MB then. Frequent
words are back at once, the others hardly ever come back."""

GROUP_WORDS = 128
"""New words that go to sentencepiece as one text: a call costs more than a word."""

WORDS_AT_ONCE = 1 << 16
"""Words of a batch that are looked up in one go, some 150 bytes of memory each."""

CUT_AT_ONCE = 1 << 20
"""Bytes of a batch that are cut in one go, some 15 bytes of memory each."""

MAX_BYTES_PER_WORD = 8
"""A text whose words are longer than this on average goes to sentencepiece whole: they hardly ever
come back. Such are texts without spaces under a vocabulary that has words of their script."""

_BETWEEN = b"\n"


def why_not_by_words(model: Any) -> str | None:
    """Why a `ModelProto` cannot be encoded word by word; None when it can.

    It has to be BPE with byte fallback (unknown characters would be fused over cuts without it)
    and a normalizer that leaves the text alone. A word with a newline inside could not be told from
    several new words, which newlines part.
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
    for text in _texts_of_pieces(model):
        if "\n" in text and text != "\n":
            return f"its piece {text!r} holds a newline"
    return None


def cuttable(model: Any) -> NDArray[np.bool_]:
    """Between which bytes a text may be cut: bool [65536], at 256 * the first + the second.

    Between any two that are side by side in no piece, and not within a character.
    """
    cuts = np.ones((256, 256), np.bool_)
    cuts[:, 0x80:0xC0] = False
    pieces = [text.replace(SPACE, " ").encode() for text in _texts_of_pieces(model)]
    data = np.frombuffer(b"".join(pieces), np.uint8)
    ends = np.array([len(piece) for piece in pieces], np.int64).cumsum()
    is_inner = np.ones(len(data), np.bool_)
    is_inner[ends - 1] = False
    (inner,) = is_inner.nonzero()
    cuts[data[inner], data[inner + 1]] = False
    return cuts.reshape(-1)


def _texts_of_pieces(model: Any) -> Iterator[str]:
    """Pieces that stand for text, or that such are merged of."""
    for piece in model.pieces:
        if piece.type in (NORMAL, USER_DEFINED, UNUSED):
            yield piece.piece


class WordCache:
    """Encodes texts word by word and remembers the words' ids."""

    def __init__(
        self,
        encode: Callable[[bytes], NDArray[np.int32]],
        cuts: NDArray[np.bool_],
        *,
        prefix: bytes,
    ) -> None:
        """Of a vocabulary that `why_not_by_words` has nothing against.

        Args:
            encode: Gives the ids of a text in UTF-8, without a dummy prefix: int32 [n].
            cuts: See `cuttable`.
            prefix: What the vocabulary puts before a text.
        """
        self._encode = encode
        self._cuts = cuts
        self._prefix = prefix
        (self._between,) = encode(_BETWEEN)
        self._table = WordTable()
        self._forget()

    def __len__(self) -> int:
        """Words that are remembered."""
        return len(self._table)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of texts: int32 [n] each.

        Raises:
            UnicodeEncodeError: A text holds a lone surrogate.
        """
        if len(self._table) > MAX_WORDS:
            self._forget()
        encoded = [self._spelled(text) for text in texts]
        sizes = np.array([len(one) for one in encoded], np.int64)
        ends = sizes.cumsum()
        data = b"".join([*encoded, bytes(KEY_BYTES)])
        starts = self._starts(data, ends)
        lengths = np.diff(starts, append=len(data) - KEY_BYTES)
        num_words = np.diff(np.searchsorted(starts, ends), prepend=0)
        whole = sizes > MAX_BYTES_PER_WORD * num_words
        if whole.any():
            by_words = np.repeat(~whole, num_words)
            starts, lengths = starts[by_words], lengths[by_words]
            num_words[whole] = 0
        ids, counts = self._encode_all(data, starts, lengths)
        token_ends = np.concatenate([[0], counts.cumsum()])[num_words.cumsum()].tolist()
        return [
            self._encode(one) if is_whole else ids[start:end]
            for one, is_whole, (start, end) in zip(
                encoded, whole.tolist(), pairwise([0, *token_ends]), strict=True
            )
        ]

    def _spelled(self, text: str) -> bytes:
        """What sentencepiece encodes for a text; a visible space (U+2581) is one to it."""
        return self._prefix + text.replace(SPACE, " ").encode() if text else b""

    def _starts(self, data: bytes, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where words begin in the bytes of texts, each of which ends at one of `ends`."""
        size = len(data) - KEY_BYTES
        text = np.frombuffer(data, np.uint8)
        parts = [np.zeros(min(size, 1), np.int64)]
        for first in range(0, size - 1, CUT_AT_ONCE):
            last = min(first + CUT_AT_ONCE, size - 1)
            pairs = text[first:last].astype(np.uint16)
            pairs <<= 8
            pairs |= text[first + 1 : last + 1]
            cuts = self._cuts.take(pairs)
            within = slice(*np.searchsorted(ends, [first, last], "right"))
            cuts[ends[within] - 1 - first] = True
            parts.append(np.flatnonzero(cuts) + (first + 1))
        return np.concatenate(parts)

    def _encode_all(
        self, data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """As `_encode_words`, of any number of words."""
        ids, counts = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for first in range(0, len(starts), WORDS_AT_ONCE):
            some = slice(first, first + WORDS_AT_ONCE)
            found = self._encode_words(data, starts[some], lengths[some])
            ids.append(found[0])
            counts.append(found[1])
        return np.concatenate(ids), np.concatenate(counts)

    def _encode_words(
        self, data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of words one after another, and how many each has."""
        keys = keys_at(data, starts, np.minimum(lengths, KEY_BYTES))
        places = self._table.find(keys)
        (new,) = np.nonzero((places == 0) & (lengths <= KEY_BYTES))
        if len(new):
            once = new[distinct(keys[new])]
            self._table.add(keys[once], *self._new_ids(data, starts[once], lengths[once]))
            places[new] = self._table.find(keys[new])
        (too_long,) = np.nonzero(lengths > KEY_BYTES)
        if len(too_long):
            ids = self._new_ids(data, starts[too_long], lengths[too_long])
            places[too_long] = self._table.hold(*ids)
        return self._table.ids_at(places)

    def _new_ids(
        self, data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """As `_encode_words`, by sentencepiece."""
        bounds = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        words = [data[start:end] for start, end in bounds]
        ids, counts = [], []
        for first in range(0, len(words), GROUP_WORDS):
            found = self._encode(_BETWEEN.join(words[first : first + GROUP_WORDS]))
            between = found == self._between
            (borders,) = np.nonzero(between)
            ids.append(found[~between])
            counts.append(np.diff(borders, prepend=-1, append=len(found)) - 1)
        return np.concatenate(ids), np.concatenate(counts)

    def _forget(self) -> None:
        """Begin anew, but with what parts new words: it is a word itself, and none of a group."""
        self._table.clear()
        key = keys_at(_BETWEEN.ljust(KEY_BYTES, b"\0"), np.zeros(1, np.int64), np.ones(1, np.int64))
        self._table.add(key, np.array([self._between], np.int32), np.ones(1, np.int64))
