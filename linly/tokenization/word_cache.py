r"""Encoding word by word through a cache, where a vocabulary allows it: same ids, but faster.

sentencepiece's BPE merges over the whole text, which is slow on long English documents. Where no
piece spans the start of a word or a newline, no merge crosses a cut at ` *[^ \n]+|\n| +`, so
each stretch may be encoded by itself and its ids kept.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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


def has_words(text: str) -> bool:
    """Whether a text is written in words, so that encoding it by words gains time."""
    if text.count(" ") * CHARACTERS_PER_SPACE <= len(text):
        return False
    if text.isascii():
        return True
    sample = text[:: len(text) // SAMPLED_CHARACTERS + 1]
    return len(_UNSPACED.findall(sample)) <= MAX_UNSPACED_SHARE * len(sample)


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
    """Encodes texts stretch by stretch and remembers the stretches' ids."""

    def __init__(self, encode: Callable[[list[str]], list[list[int]]]) -> None:
        """`encode` gives the ids of each stretch, without a dummy prefix."""
        self._encode = encode
        self._words: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """Ids of texts that hold no visible space character (U+2581): int32 [n] each, as bytes.

        What is new in any of them goes to sentencepiece together: a call costs more than a word.
        """
        found: list[Any] = []
        gaps: list[_Gaps] = []
        for text in texts:
            if is_long(text):
                found.append(self._encode_long(text))
                continue
            words = _STRETCH.findall(text)
            ids: list[Any] = list(map(self._words.get, words))
            try:
                found.append(b"".join(ids))
            except TypeError:  # a word that is not known yet
                missing = [place for place, known in enumerate(ids) if known is None]
                gaps.append(_Gaps(words, ids, missing))
                found.append(ids)
        if gaps:
            self._fill(gaps, self._learn(gaps))
        return [ids if type(ids) is bytes else b"".join(ids) for ids in found]

    def _encode_long(self, text: str) -> bytes:
        """Ids of a text in the memory of a part of it; parts without words go whole."""
        return b"".join(
            self.encode([part])[0]
            if not is_long(part) and has_words(part)
            else self._as_bytes([part])[0]
            for part in parts_of(text)
        )

    def _learn(self, gaps: list[_Gaps]) -> dict[str, bytes]:
        """Ids of the missing words that are worth keeping, remembered from now on."""
        missing = {words[place] for words, _, places in gaps for place in places}
        kept = list(filter(_is_worth_keeping, missing))
        learned = {word: self._old[word] for word in kept if word in self._old}
        new = [word for word in kept if word not in learned]
        learned.update(zip(new, self._as_bytes(new), strict=True))
        for word, encoded in learned.items():
            if len(self._words) >= GENERATION_WORDS:
                self._old, self._words = self._words, {}
            self._words[word] = encoded
        return learned

    def _fill(self, gaps: list[_Gaps], learned: dict[str, bytes]) -> None:
        """Put ids for what is missing; neighbours that are not worth keeping are encoded as one."""
        runs: list[list[str]] = []
        starts: list[tuple[list[Any], int]] = []
        for words, ids, missing in gaps:
            run_end = -1
            for place in missing:
                word = words[place]
                known = learned.get(word)
                if known is not None:
                    ids[place] = known
                    continue
                ids[place] = b""  # of a run only the first place holds ids
                if place != run_end:
                    runs.append([])
                    starts.append((ids, place))
                runs[-1].append(word)
                run_end = place + 1
        for (ids, place), encoded in zip(starts, self._as_bytes(map("".join, runs)), strict=True):
            ids[place] = encoded

    def _as_bytes(self, stretches: Iterable[str]) -> list[bytes]:
        return [array("i", ids).tobytes() for ids in self._encode(list(stretches))]


def _is_worth_keeping(word: str) -> bool:
    return len(word) <= MAX_WORD_CHARACTERS and not _UNSPACED.search(word)
