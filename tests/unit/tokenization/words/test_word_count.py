"""The count of words follows the stated rule: worth its rows, and seen often enough."""

from __future__ import annotations

import random

import numpy as np
import pytest

from linly.errors import ConfigError
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.words.learn_words import find_words, learn_some_words
from linly.tokenization.words.scripts import script_named
from linly.tokenization.words.word_count import (
    CountPoint,
    largest_worthwhile,
    measure_counts,
    split_texts,
    without_rare,
)
from tests.support.vocabularies import english_model

HAN = script_named("han")
DRAW = random.Random(1)
WORDS = ["中国", "人民", "山水之间", "人工智能", "学习", "科学"]
TEXTS = ["，".join(DRAW.choices(WORDS, k=30)) for _ in range(40)]


@pytest.fixture(scope="module")
def base() -> SentencePieceTokenizer:
    plain = SentencePieceTokenizer(english_model())
    return SentencePieceTokenizer(extend_vocabulary(plain, sorted(set("".join(TEXTS)))))


@pytest.mark.parametrize(("least", "count"), [(0.01, 8000), (0.06, 4000), (0.2, 2000), (0.9, 0)])
def test_the_count_ends_before_the_gain_falls_below_the_least(least: float, count: int) -> None:
    figures = ((0, 1.0), (2000, 0.5), (4000, 0.4), (8000, 0.36))  # 25%, 10%, 2.5% per thousand
    assert largest_worthwhile([CountPoint(*one) for one in figures], least) == count


def test_fertility_falls_with_the_count(base: SentencePieceTokenizer) -> None:
    learned, measured = split_texts(TEXTS)
    assert (len(learned), len(measured)) == (36, 4)
    merges, _ = find_words(base, HAN, learned, 10)
    first, last = measure_counts(base, merges, measured)
    assert (first.count, last.count) == (0, len(merges))
    num_tokens = sum(len(base.encode(text)) for text in measured)
    assert first.tokens_per_character == num_tokens / sum(map(len, measured))
    assert last.tokens_per_character < 0.7 * first.tokens_per_character


def test_every_word_that_remains_is_frequent(base: SentencePieceTokenizer) -> None:
    merges, _ = find_words(base, HAN, TEXTS, 10)
    kept = without_rare(base, merges, TEXTS, 1)
    assert 0 < len(kept) < len(merges)  # 山水之 is only a part of 山水之间
    assert without_rare(base, merges, TEXTS, 1e9) == ()


def test_the_chosen_words_are_seen_as_often_as_asked(base: SentencePieceTokenizer) -> None:
    learned, points = learn_some_words(
        base, HAN, TEXTS, least_gain=0.0, min_seen=5, run_tokens=10_000
    )
    new = learned.tokenizer
    counts = np.bincount(np.concatenate(new.encode_batch(TEXTS)), minlength=new.vocab_size)
    expected = counts[base.vocab_size :] * 10_000 / counts.sum()
    assert len(learned.merges) and expected.min() >= 5
    assert points[0].count == 0
    with pytest.raises(ConfigError, match="--count auto: no word saves enough"):
        learn_some_words(base, HAN, TEXTS, least_gain=0.0, min_seen=500, run_tokens=1000)
