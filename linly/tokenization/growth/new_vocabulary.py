"""Train a sentencepiece vocabulary on a bounded sample of texts."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import sentencepiece

from linly.errors import ConfigError

MAX_LINE_CHARACTERS = 1024
"""sentencepiece silently skips longer lines (4,192 bytes); they are split instead."""

_NUM_THREADS = 4


@dataclass(frozen=True, slots=True)
class VocabularySpec:
    """Settings of a vocabulary to train.

    Attributes:
        size: Number of pieces, including the special ones and 256 bytes.
        kind: BPE as in LLaMA, or Unigram as in the Chinese-LLaMA pieces.
        coverage: Fraction of characters that get a piece; the rest falls back to bytes.
        byte_fallback: Whether unknown characters become bytes instead of `<unk>`.
    """

    size: int
    kind: Literal["bpe", "unigram"] = "bpe"
    coverage: float = 0.9995
    byte_fallback: bool = True


def train_vocabulary(texts: Iterable[str], spec: VocabularySpec) -> bytes:
    """Train on texts with LLaMA's settings: no normalization, split digits, byte fallback.

    Returns:
        The model, serialized; the same texts in the same order give the same model.

    Raises:
        ConfigError: If there is no text, or too little for the size.
    """
    lines = _lines(texts)
    first = next(lines, None)
    if first is None:
        raise ConfigError("cannot train a vocabulary: the corpora have no text")
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_chain(first, lines),
            model_writer=writer,
            model_type=spec.kind,
            vocab_size=spec.size,
            character_coverage=spec.coverage,
            byte_fallback=spec.byte_fallback,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            max_sentence_length=8 * MAX_LINE_CHARACTERS,
            num_threads=_NUM_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(
            f"cannot train a vocabulary of {spec.size:,} pieces: {error}; lower the size or use "
            f"more text"
        ) from error
    return writer.getvalue()


def sample_texts(texts: Iterable[str], *, limit_bytes: int, seed: int) -> list[str]:
    """Draw a random sample of texts that fits into memory, by hash of seed and position.

    The texts with the smallest hashes are kept while their UTF-8 bytes fit. So the stream is read
    once, each text has the same chance, and the same seed gives the same texts.
    """
    kept: list[tuple[int, int, str]] = []
    num_bytes = 0
    for index, text in enumerate(texts):
        digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
        heapq.heappush(kept, (-int.from_bytes(digest, "big"), index, text))
        num_bytes += len(text.encode("utf-8", "surrogatepass"))
        while num_bytes > limit_bytes and len(kept) > 1:
            num_bytes -= len(heapq.heappop(kept)[2].encode("utf-8", "surrogatepass"))
    return [text for _, _, text in sorted(kept, key=lambda item: item[1])]


def sample_evenly(corpora: Sequence[Iterable[str]], *, limit_bytes: int, seed: int) -> list[str]:
    """`sample_texts` of each corpus, with an equal part of the limit for each.

    So a corpus does not outweigh the others by its size alone.
    """
    part = limit_bytes // max(1, len(corpora))
    return [text for texts in corpora for text in sample_texts(texts, limit_bytes=part, seed=seed)]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            for start in range(0, len(line), MAX_LINE_CHARACTERS):
                yield line[start : start + MAX_LINE_CHARACTERS]


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
