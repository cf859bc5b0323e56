r"""Encoding word by word through a cache, where a vocabulary allows it: same ids, but faster.

sentencepiece's BPE merges over the whole text, which is slow on long English documents. Where no
piece spans the start of a word or a newline, no merge crosses a cut at ` *[^ \n]+|\n| +`, so
each stretch may be encoded by itself and its ids kept.

A text is cut by `str.split`, several times quicker than that expression, so what is kept is not
quite a stretch. A *word* here is what follows a space up to the next one, and stands for both; or
it begins with a newline and stands for itself. Of several spaces one makes the cut, the others
begin the next word as U+2581, which is what sentencepiece makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, pairwise, repeat
from operator import is_
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linly.tokenization.model_file import BPE, BYTE, NORMAL, SPACE, UNUSED, USER_DEFINED

GENERATION_WORDS = 1 << 18
"""Words of a generation, about 55 MB. Two are kept: when the young one is full it becomes the old
one, whose words come back as they are met again; so frequent words stay and rare ones leave."""

MAX_WORD_CHARACTERS = 48
"""Longer words (URLs, base64) hardly ever come back."""

GROUP_WORDS = 64
"""New words that go to sentencepiece as one text: a call costs more than a word."""

# Scripts written without spaces: a word is a clause there, which never comes back, and
# sentencepiece itself is fast on these.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)

CHARACTERS_PER_SPACE = 16
MAX_UNSPACED_SHARE = 0.25
"""A text with fewer spaces, or more characters of scripts without them, has few words to gain
from; sentencepiece takes it whole."""

SAMPLED_CHARACTERS = 256
"""Looked at to know a text's scripts."""

LONG_CHARACTERS = 1 << 20
"""A longer text is encoded in parts of about so many: the words of 50 MB at once take 2 GB."""

_CUT = re.compile(r"\n|(?<=[^ \n]) ")
"""Where a stretch begins."""

_SPANS_WORD_START = re.compile(f"[^{SPACE}]{SPACE}")


def why_not_by_words(model: Any) -> str | None:
    """Why a `ModelProto` cannot be encoded word by word; None when it can.

    The condition is checked on the vocabulary itself: BPE with byte fallback (unknown characters
    would be fused over cuts without it), a normalizer that leaves the text alone, and no piece
    that holds a newline or a word start inside; and it has a piece for a space, so that a word's
    first piece, and no other, begins with one.
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
    if not any(piece.piece == SPACE and piece.type == NORMAL for piece in model.pieces):
        return "it has no piece for a space"
    return None


def begins_word(model: Any) -> NDArray[np.bool_]:
    """Which pieces begin a word or are a newline: bool [vocabulary]."""
    return np.array(
        [
            (piece.type == BYTE and piece.piece == "<0x0A>")
            or (piece.type in (NORMAL, USER_DEFINED) and piece.piece.startswith((SPACE, "\n")))
            for piece in model.pieces
        ]
    )


def has_words(text: str) -> bool:
    """Whether a text is written in words, so that encoding it by words gains time."""
    if text.count(" ") * CHARACTERS_PER_SPACE <= len(text):
        return False
    if text.isascii():
        return True
    sample = text[:: len(text) // SAMPLED_CHARACTERS + 1]
    return len(_UNSPACED.findall(sample)) <= MAX_UNSPACED_SHARE * len(sample)


def words_of(text: str) -> list[str]:
    """What comes before the first space or newline of a text without U+2581, and its words."""
    if "  " in text:
        text = text.replace("  ", f" {SPACE}").replace(f"{SPACE} ", SPACE + SPACE)
    return text.replace("\n", " \n").split(" ")


def is_long(text: str) -> bool:
    """Whether a text is encoded in parts, to bound the memory it takes."""
    return len(text) > LONG_CHARACTERS


def parts_of(text: str) -> list[str]:
    """Cut a long text where stretches begin; the parts' ids one after another are the text's."""
    parts, start = [], 0
    while (cut := _CUT.search(text, start + LONG_CHARACTERS // 2)) is not None:
        parts.append(text[start : cut.start()])
        start = cut.start()
    return [*parts, text[start:]]


class _Gaps(NamedTuple):
    """A text with words that are not known yet: its words, their ids or None, where None is."""

    words: list[str]
    ids: list[Any]
    missing: list[int]


class WordCache:
    """Encodes texts word by word and remembers the words' ids."""

    def __init__(
        self, encode: Callable[[str], NDArray[np.int32]], begins_word: NDArray[np.bool_]
    ) -> None:
        """Of a vocabulary that `why_not_by_words` has nothing against.

        Args:
            encode: Gives the ids of a text, without a dummy prefix: int32 [n].
            begins_word: See `begins_word`.
        """
        self._encode = encode
        self._begins_word = begins_word
        self._words: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """Ids of texts that hold no visible space character (U+2581): int32 [n] each, as bytes."""
        found: list[Any] = []
        gaps: list[_Gaps] = []
        for text in texts:
            if is_long(text):
                found.append(self._encode_long(text))
                continue
            words = words_of(text)
            ids: list[Any] = list(map(self._words.get, words))
            ids[0] = self._encode(words[0]).tobytes() if words[0] else b""  # no space before it
            try:
                found.append(b"".join(ids))
            except TypeError:  # a word that is not known yet
                missing = list(compress(range(len(ids)), map(is_, ids, repeat(None))))
                gaps.append(_Gaps(words, ids, missing))
                found.append(ids)
        if gaps:
            learned = self._learn({words[place] for words, _, places in gaps for place in places})
            for words, ids, missing in gaps:
                for place in missing:
                    ids[place] = learned[words[place]]
        return [ids if type(ids) is bytes else b"".join(ids) for ids in found]

    def _encode_long(self, text: str) -> bytes:
        """Ids of a text in the memory of a part of it; parts without words go whole."""
        return b"".join(
            self.encode([part])[0]
            if not is_long(part) and has_words(part)
            else self._encode(part).tobytes()
            for part in parts_of(text)
        )

    def _learn(self, missing: set[str]) -> dict[str, bytes]:
        """Ids of words; those that are worth it are remembered from now on."""
        learned = {word: self._old[word] for word in self._old.keys() & missing}
        learned.update(self._encode_words(missing - learned.keys()))
        if len(self._words) + len(learned) > GENERATION_WORDS:
            self._old, self._words = self._words, {}
        self._words.update((word, learned[word]) for word in learned if _is_worth_keeping(word))
        return learned

    def _encode_words(self, words: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Words with their ids; groups of them go to sentencepiece as one text."""
        single = []
        for word in words:
            if not word or SPACE in word:  # may be several pieces that begin with a space
                yield word, self._encode(" " + word).tobytes()
            else:
                single.append(word)
        for first in range(0, len(single), GROUP_WORDS):
            group = single[first : first + GROUP_WORDS]
            ids = self._encode((" " + " ".join(group)).replace(" \n", "\n"))
            starts = np.flatnonzero(self._begins_word[ids]) * ids.itemsize
            data = ids.tobytes()
            ends = [*starts.tolist(), len(data)]
            yield from zip(group, (data[a:b] for a, b in pairwise(ends)), strict=True)


def _is_worth_keeping(word: str) -> bool:
    return len(word) <= MAX_WORD_CHARACTERS and (word.isascii() or not _UNSPACED.search(word))
