"""A trained vocabulary is a function of its sample, and the sample of its seed."""

from __future__ import annotations

import pytest

from linly.errors import ConfigError
from linly.tokenization.growth.new_vocabulary import (
    MAX_LINE_CHARACTERS,
    VocabularySpec,
    sample_texts,
    train_vocabulary,
)
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import ENGLISH


def test_the_same_texts_give_the_same_model() -> None:
    spec = VocabularySpec(380)
    assert train_vocabulary(ENGLISH, spec) == train_vocabulary(ENGLISH, spec)


def test_the_vocabulary_has_the_size_byte_fallback_and_a_cache() -> None:
    tokenizer = SentencePieceTokenizer(train_vocabulary(ENGLISH, VocabularySpec(380)))
    assert tokenizer.vocab_size == 380
    assert tokenizer.why_no_cache is None
    assert tokenizer.decode(tokenizer.encode("龘 é\n  x")) == "龘 é\n  x"


def test_unigram_and_no_byte_fallback_can_be_had() -> None:
    spec = VocabularySpec(50, kind="unigram", byte_fallback=False)
    tokenizer = SentencePieceTokenizer(train_vocabulary(ENGLISH, spec))
    assert tokenizer.vocab_size == 50
    assert not any(piece.startswith("<0x") for piece in tokenizer.pieces())


def test_long_lines_are_cut_and_not_passed_over() -> None:
    long = "zyxwv " * (4 * MAX_LINE_CHARACTERS)
    tokenizer = SentencePieceTokenizer(
        train_vocabulary([*ENGLISH, long], VocabularySpec(380, coverage=1.0))
    )
    assert any("zyx" in piece for piece in tokenizer.pieces())


def test_no_text_or_too_little_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match="have no text"):
        train_vocabulary([], VocabularySpec(400))
    with pytest.raises(ConfigError, match="lower the size or use more text"):
        train_vocabulary(["a b c"], VocabularySpec(5000))


def test_a_sample_fits_its_limit_and_depends_on_the_seed_alone() -> None:
    texts = [f"text {number} " * 5 for number in range(200)]
    sample = sample_texts(iter(texts), limit_bytes=2000, seed=1)
    assert 1000 < sum(len(text.encode()) for text in sample) <= 2000
    assert sample == sample_texts(texts, limit_bytes=2000, seed=1)
    assert sample != sample_texts(texts, limit_bytes=2000, seed=2)
    assert sample == [text for text in texts if text in sample]
    assert sample_texts(texts, limit_bytes=1 << 20, seed=1) == texts


def test_every_text_has_the_same_chance() -> None:
    texts = [f"{number:03}" for number in range(100)]
    counts = dict.fromkeys(texts, 0)
    for seed in range(300):
        for text in sample_texts(texts, limit_bytes=30, seed=seed):
            counts[text] += 1
    assert sum(counts.values()) == 300 * 10
    assert min(counts.values()) >= 8
    assert max(counts.values()) <= 60
