"""linly.data.inspection.estimate: tokens of a source, counted or estimated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from linly.config.corpus import Corpus
from linly.data.inspection import estimate
from linly.data.inspection.estimate import TokenEstimate, estimate_tokens
from linly.data.reading.shards import ShardReader, list_shards
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.tiny_corpora import source_of

MakeCorpus = Callable[..., Corpus]
WIKI = 'language: zh\nkind: text\npaths: ["chinese/wiki_zh/AA/*.zst"]\n'
ALPACA = (
    'language: en\nkind: instruction\npaths: ["instruction/alpaca_en/*5k.json.gz"]\n'
    "fields: {instruction: instruction, input: input, output: output}\n"
)


@pytest.fixture(scope="module")
def tokenizer(llama_tokenizer_path: Path) -> Tokenizer:
    return load_tokenizer(llama_tokenizer_path)


def estimated(corpus: Corpus, data_root: Path, tokenizer: Tokenizer) -> TokenEstimate:
    return estimate_tokens(source_of(corpus, data_root), list_shards(corpus, data_root), tokenizer)


def test_a_small_source_is_counted(
    real_data: Path, make_corpus: MakeCorpus, tokenizer: Tokenizer
) -> None:
    corpus = make_corpus(WIKI)
    tokens = documents = 0
    for shard in list_shards(corpus, real_data):
        for raw in ShardReader(corpus, real_data).read(shard):
            assert raw.value is not None
            tokens += len(tokenizer.encode(raw.value["text"])) + 2
            documents += 1
    found = estimated(corpus, real_data, tokenizer)
    assert found == TokenEstimate(
        tokens=tokens,
        supervised_tokens=tokens - documents,
        documents=documents,
        bad_records=0,
        padding=0,
        exact=True,
    )


def test_prompts_are_tokens_without_supervision_and_bad_records_are_counted(
    real_data: Path, make_corpus: MakeCorpus, tokenizer: Tokenizer
) -> None:
    found = estimated(make_corpus(ALPACA), real_data, tokenizer)
    assert found.bad_records == 4
    assert 0.4 < found.supervised_share < 0.8


def test_held_out_records_are_no_tokens_to_train_on(
    real_data: Path, make_corpus: MakeCorpus, tokenizer: Tokenizer
) -> None:
    whole = estimated(make_corpus(WIKI), real_data, tokenizer)
    less = estimated(make_corpus(WIKI + "held_out: 20%\n"), real_data, tokenizer)
    assert 0.7 < less.tokens / whole.tokens < 0.9
    assert 0.7 < less.documents / whole.documents < 0.9


@pytest.mark.parametrize("yaml", [WIKI, ALPACA])
def test_a_large_source_is_estimated_from_a_sample_the_same_every_time(
    real_data: Path,
    make_corpus: MakeCorpus,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    yaml: str,
) -> None:
    corpus = make_corpus(yaml)
    counted = estimated(corpus, real_data, tokenizer)
    monkeypatch.setattr(estimate, "EXACT_DISK_BYTES", 0)
    monkeypatch.setattr(estimate, "SAMPLE_SHARDS", 2)
    monkeypatch.setattr(estimate, "ENCODED_BYTES", 100 << 10)
    sampled = estimated(corpus, real_data, tokenizer)
    assert not sampled.exact
    assert sampled == estimated(corpus, real_data, tokenizer)
    assert sampled.tokens == pytest.approx(counted.tokens, rel=0.1)
    assert sampled.documents == pytest.approx(counted.documents, rel=0.15)
    assert sampled.supervised_share == pytest.approx(counted.supervised_share, rel=0.1)
