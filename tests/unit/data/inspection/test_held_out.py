"""linly.data.inspection.held_out: the documents that evaluation reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from linly.config.corpus import Corpus
from linly.data.documents.templates import DocumentMaker
from linly.data.inspection import held_out
from linly.data.inspection.held_out import held_out_documents
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import Document
from linly.errors import DataError
from tests.support.tiny_corpora import source_of

MakeCorpus = Callable[..., Corpus]
SLIMPAJAMA = 'language: en\nkind: text\npaths: ["english/slimpajama/train/chunk*/*.jsonl.zst"]\n'


def test_by_fraction_they_are_the_records_that_training_leaves_out(
    real_data: Path, make_corpus: MakeCorpus
) -> None:
    corpus = make_corpus(SLIMPAJAMA + "held_out: 10%\n")
    shards = list_shards(corpus, real_data)
    documents = held_out_documents(source_of(corpus, real_data), shards, max_documents=1000)
    maker = DocumentMaker(source_of(corpus))
    trained = {
        (shard.path, raw.record)
        for shard in shards
        for raw in ShardReader(corpus, real_data).read(shard)
        if isinstance(maker.make(shard.path, raw, 0), Document)
    }
    held = [(document.shard, document.record) for document in documents]
    assert held == sorted(held)
    assert not trained & set(held)
    assert len(trained) + len(held) == 464
    assert 25 <= len(held) <= 70


def test_fewer_documents_are_the_first_of_them(real_data: Path, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(SLIMPAJAMA + "held_out: 10%\n")
    shards = list_shards(corpus, real_data)
    many = held_out_documents(source_of(corpus, real_data), shards, max_documents=1000)
    assert held_out_documents(source_of(corpus, real_data), shards, max_documents=7) == many[:7]


def test_without_held_out_there_are_none(real_data: Path, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(SLIMPAJAMA)
    shards = list_shards(corpus, real_data)
    assert held_out_documents(source_of(corpus, real_data), shards, max_documents=9) == []


def test_the_search_ends_after_so_much_text(
    real_data: Path, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(SLIMPAJAMA + "held_out: 10%\n")
    shards = list_shards(corpus, real_data)
    monkeypatch.setattr(held_out, "MAX_SCAN_BYTES", 1 << 20)
    found = held_out_documents(source_of(corpus, real_data), shards, max_documents=1000)
    assert {document.shard for document in found} == {shards[0].path}


def test_held_out_files_are_read_whole(real_data: Path, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(
        SLIMPAJAMA + 'held_out: ["english/slimpajama/train/chunk2/example_train_2.jsonl.zst"]\n'
    )
    shards = list_shards(corpus, real_data)
    assert len(shards) == 5
    documents = held_out_documents(source_of(corpus, real_data), shards, max_documents=1000)
    assert [document.record for document in documents] == list(range(77))


def test_held_out_pairs_of_files(real_data: Path, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(
        'kind: parallel\npaths: {en: "parallel/d2l_moses/*.en", zh: "parallel/d2l_moses/*.zh"}\n'
        'held_out: {en: "eval/parallel/d2l.valid.en", zh: "eval/parallel/d2l.valid.zh"}\n'
    )
    shards = list_shards(corpus, real_data)
    documents = held_out_documents(source_of(corpus, real_data), shards, max_documents=50)
    assert len(documents) == 50
    assert {d.shard for d in documents} == {
        "eval/parallel/d2l.valid.en\teval/parallel/d2l.valid.zh"
    }


def test_held_out_files_of_bad_records_are_an_error(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    good = [{"text": f"text {i}"} for i in range(60)]
    for name, records in {"a": good, "valid": [*good, {"txt": "x"}, {"text": ""}]}.items():
        lines = b"\n".join(orjson.dumps(record) for record in records)
        (tmp_path / f"{name}.jsonl").write_bytes(lines)
    yaml = 'language: en\nkind: text\npaths: [a.jsonl]\nheld_out: ["valid.jsonl"]\n'
    corpus = make_corpus(yaml)
    shards = list_shards(corpus, tmp_path)
    with pytest.raises(DataError, match=r"2 records .* record 60 of 'valid.jsonl': field 'text'"):
        held_out_documents(source_of(corpus, tmp_path), shards, max_documents=100)
    lenient = make_corpus(yaml + "max_bad_fraction: 5%\n")
    assert len(held_out_documents(source_of(lenient, tmp_path), shards, max_documents=100)) == 60
