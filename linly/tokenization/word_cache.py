r"""Encode word by word through a cache, if a vocabulary allows it: the same ids, but faster.

sentencepiece's BPE merges over the whole text, which is slow on long documents. A merge forms a
piece of the vocabulary, so it never crosses a place between two bytes that are adjacent in no
piece. A text is cut at all such places; each *word* between two cuts can be encoded by itself, and
its ids cached. With LLaMA's pieces a word is a space and the letters after it, the letters after a
sign, signs, one digit, or one character of a script of which it has only single characters.

All words of a batch are cut, looked up and joined in a few array operations (`word_table`). New
words go to sentencepiece, many as one text.
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
"""A larger table, of about 80 MB, is emptied before the next batch. Frequent words return at once,
the others hardly ever."""

GROUP_WORDS = 128
"""New words per text for sentencepiece: a call costs more than a word."""

WORDS_AT_ONCE = 1 << 16
"""Words that are looked up at once, with about 150 bytes of memory each."""

CUT_AT_ONCE = 1 << 20
"""Bytes that are cut at once, with about 15 bytes of memory each."""

MAX_BYTES_PER_WORD = 8
"""A text whose words are longer than this on average goes to sentencepiece whole, because such
words hardly ever recur. An example is a text without spaces if the vocabulary has words of its
script."""

_BETWEEN = b"\n"


def why_not_by_words(model: Any) -> str | None:
    """Reason why a `ModelProto` cannot be encoded word by word; None if it can.

    It must be BPE with byte fallback, because unknown characters would otherwise be fused across
    cuts. Its normalizer must not change text. No piece may hold a newline inside, because newlines
    separate the new words that are encoded together.
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
            return f"its piece {text!r} contains a newline"
    return None


def cuttable(model: Any) -> NDArray[np.bool_]:
    """Mask of the byte pairs that a text may be cut between: bool [65536], at 256 * first + second.

    These are the pairs that are adjacent in no piece and not within a character.
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
    """Pieces that represent text, or from which such pieces are merged."""
    for piece in model.pieces:
        if piece.type in (NORMAL, USER_DEFINED, UNUSED):
            yield piece.piece


class WordCache:
    """Encodes texts word by word and caches the words' ids."""

    def __init__(
        self,
        encode: Callable[[bytes], NDArray[np.int32]],
        cuts: NDArray[np.bool_],
        *,
        prefix: bytes,
    ) -> None:
        """Create an empty cache for a vocabulary that `why_not_by_words` allows.

        Args:
            encode: Function from a text in UTF-8 to its ids, without a dummy prefix: int32 [n].
            cuts: Mask of byte pairs to cut between, from `cuttable`.
            prefix: Bytes that the vocabulary puts before a text.
        """
        self._encode = encode
        self._cuts = cuts
        self._prefix = prefix
        (self._between,) = encode(_BETWEEN)
        self._table = WordTable()
        self._forget()

    def __len__(self) -> int:
        """Number of cached words."""
        return len(self._table)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of texts: int32 [n] each.

        Raises:
            UnicodeEncodeError: If a text holds a lone surrogate.
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
        """Bytes that sentencepiece encodes for a text; it treats U+2581 as a space."""
        return self._prefix + text.replace(SPACE, " ").encode() if text else b""

    def _starts(self, data: bytes, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Start of each word in the bytes of texts, each of which ends at one of `ends`."""
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
        """`_encode_words` for any number of words."""
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
        """Concatenated ids of words, and the number of ids of each."""
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
        """`_encode_words` by sentencepiece, for new words."""
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
        """Clear the cache, except the separator of new words, which must never be in a group."""
        self._table.clear()
        key = keys_at(_BETWEEN.ljust(KEY_BYTES, b"\0"), np.zeros(1, np.int64), np.ones(1, np.int64))
        self._table.add(key, np.array([self._between], np.int32), np.ones(1, np.int64))
