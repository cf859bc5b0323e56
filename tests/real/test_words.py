"""Words learned from the real text: their fertility, and exactness of ids on all texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import regex
import sentencepiece

from linly.cli.corpus_texts import CorpusTexts
from linly.tokenization.growth.byte_merges import extend_byte_level
from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    choose_characters,
    standard_characters,
)
from linly.tokenization.growth.new_vocabulary import sample_evenly
from linly.tokenization.growth.reachable import dead_characters, unreachable_pieces
from linly.tokenization.hugging_face.tokenizer_export import compare, hugging_face_json
from linly.tokenization.hugging_face.torture import random_texts, torture_texts
from linly.tokenization.model_file import parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.tokenization.words.learn_words import learn_words
from linly.tokenization.words.scripts import script_named
from tests.support.byte_level import train_byte_level
from tests.support.real_mixture import CHINESE, extend_llama
from tests.support.real_texts import all_texts, some_texts

pytestmark = pytest.mark.real

CORPORA = Path(__file__).parent / "corpora"
NUM_WORDS = 8000
HAN = regex.compile(r"\p{Han}+")


def sample(real_data: Path, sample_mb: float) -> list[str]:
    """Texts of the Chinese corpora without held-out ones, as the command draws them."""
    texts = CorpusTexts.open(list(CHINESE), [CORPORA], real_data)
    streams = [texts.documents(name) for name in CHINESE]
    return sample_evenly(streams, limit_bytes=int(sample_mb * 1e6), seed=2023)


def per_character(tokenizer: Tokenizer, real_data: Path) -> float:
    """Tokens per Chinese character of the held-out text, in runs of such characters."""
    runs = [run for text in all_texts(real_data / "eval" / "chinese") for run in HAN.findall(text)]
    ids = tokenizer.encode_batch(runs)
    num_prefixes = sum(tokenizer.piece(int(one[0])) == "▁" for one in ids)
    return (sum(map(len, ids)) - num_prefixes) / sum(map(len, runs))


def check_english(base: Tokenizer, new: Tokenizer, real_data: Path, every: int) -> None:
    """Only texts with a run of Chinese characters may have other ids."""
    folders = (real_data / "english", real_data / "eval" / "english")
    texts = [text for folder in folders for text in some_texts(folder, every)]
    before, after = base.encode_batch(texts), new.encode_batch(texts)
    changed = [
        text
        for text, old, ids in zip(texts, before, after, strict=True)
        if not np.array_equal(old, ids)
    ]
    print(f"English: {len(changed)} of {len(texts):,} texts changed")
    assert all(any(len(run) > 1 for run in HAN.findall(text)) for text in changed)


@pytest.mark.parametrize(
    ("sample_mb", "count", "every"),
    [
        pytest.param(1, 1000, 80, id="sample"),
        pytest.param(14, NUM_WORDS, 1, id="all", marks=pytest.mark.exhaustive),
    ],
)
def test_words_of_a_sentencepiece_vocabulary(
    real_data: Path,
    llama_tokenizer_path: Path,
    tmp_path: Path,
    sample_mb: float,
    count: int,
    every: int,
) -> None:
    base = SentencePieceTokenizer.load(extend_llama(llama_tokenizer_path, tmp_path))
    new = learn_words(base, script_named("han"), sample(real_data, sample_mb), count).tokenizer
    assert isinstance(new, SentencePieceTokenizer)
    assert new.vocab_size == base.vocab_size + count
    model = parse_model(new.model_bytes, origin="words")
    assert unreachable_pieces(model, first=base.vocab_size) == ()
    check_english(base, new, real_data, every)
    assert new.why_no_cache is None  # the word cache holds
    bare = sentencepiece.SentencePieceProcessor()
    bare.LoadFromSerializedProto(new.model_bytes)
    num_fuzzed = 10_000 // every
    texts = [
        *some_texts(real_data, every),
        *torture_texts(new.pieces(), num_random=num_fuzzed),
        *random_texts(new.pieces(), num_fuzzed, seed=1),
    ]
    for text in texts:
        assert new.encode(text).tolist() == bare.encode(text), text[:200]
    assert compare(new, hugging_face_json(new), texts).complaint() is None
    before, after = per_character(base, real_data), per_character(new, real_data)
    print(f"{len(texts):,} texts, 0 differ; {before:.3f} -> {after:.3f} tokens per character")
    assert after <= (0.66 if count == NUM_WORDS else 0.9)


@pytest.mark.exhaustive
def test_words_of_a_byte_level_vocabulary(real_data: Path, tmp_path: Path) -> None:
    corpora = CorpusTexts.open(["real-slimpajama", "real-refinedweb"], [CORPORA], real_data)
    english = train_byte_level(
        tmp_path / "base", "llama-bpe", list(corpora.all_documents()), size=32_000
    )
    known = set(map(english.readable, range(english.vocab_size)))
    listed = choose_characters(standard_characters(DEFAULT_STANDARDS), known, count=None)
    dead = dead_characters(english, listed)
    base = extend_byte_level(english, [c for c in listed if c not in dead]).tokenizer
    new = learn_words(base, script_named("han"), sample(real_data, 14), NUM_WORDS).tokenizer
    words = range(base.vocab_size, new.vocab_size)
    assert all(new.encode(new.readable(token)).tolist() == [token] for token in words)
    check_english(base, new, real_data, 1)
    figures = [per_character(one, real_data) for one in (english, base, new)]
    print(f"tokens per character: {figures}")
    assert figures[0] > 2.9 and figures[-1] <= 0.66
