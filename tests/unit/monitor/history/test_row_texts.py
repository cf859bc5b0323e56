"""The text of a row read back from its shards is the text that its tokens said."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.recipe import load_recipe
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DocumentMaker
from linly.data.inspection.lookup import TracedSource, TrainedSpan, find_texts
from linly.data.reading.shards import ShardReader
from linly.data.shard_list import read_shard_list
from linly.data.types import Document, Shard
from linly.errors import DataError
from linly.monitor.history.documents import rows_of_step
from linly.monitor.history.row_texts import Tracer, by_loss, worst_rows
from linly.records.span import Span
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.mixed_run import write_mixed_run
from tests.support.tiny_corpora import source_of
from tests.support.vocabularies import english_model

TABLES = """
    language: zh
    kind: text
    paths: ["tables/*.parquet"]
    fields: {text: body}
    """


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpora with one of parquet beside those of jsonl, zst, a JSON array and txt."""
    folder = tmp_path_factory.mktemp("world") / "world"
    shutil.copytree(tiny_recipe.parent, folder)
    (folder / "corpora" / "tables.yaml").write_text(textwrap.dedent(TABLES), encoding="utf-8")
    (folder / "data" / "tables").mkdir()
    texts = [f"{number}。江河湖海" * (1 + number % 7) for number in range(300)]
    pq.write_table(
        pa.table({"body": texts}), folder / "data" / "tables" / "0.parquet", row_group_size=50
    )
    curriculum = folder / "curriculum.yaml"
    line = "handful: {share: 20%, max_epochs: 1000}"
    text = curriculum.read_text(encoding="utf-8")
    assert line in text
    curriculum.write_text(
        text.replace(line, "handful: {share: 10%, max_epochs: 1000}\n      tables: 10%"),
        encoding="utf-8",
    )
    return folder / "recipe.yaml"


def test_every_format_gives_back_the_text_of_the_rows_tokens(
    recipe: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    made = write_mixed_run(recipe, tiny_tokenizer_path, tmp_path / "run", num_steps=16)
    tokenizer = load_tokenizer(tiny_tokenizer_path)
    tracer = Tracer(tmp_path / "run")
    endings = set()
    for step in range(1, 17):
        for traced in tracer.texts(rows_of_step(tmp_path / "run", step).rows):
            row = made[traced.row.row].row
            begin = 0
            assert len(row.spans) == len(traced.texts)
            for span, found in zip(row.spans, traced.texts, strict=True):
                ids = row.ids[begin : begin + span.end - span.start]
                begin += len(ids)
                assert found.text == tokenizer.decode(ids), (row.source, span)
                assert span.end <= found.num_tokens
                endings.add("".join(Path(span.shard).suffixes))
    assert endings == {".jsonl", ".jsonl.zst", ".json", ".txt", ".parquet"}


def test_the_worst_rows_come_first_and_those_without_loss_last(
    recipe: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    losses = {3: 9.0, 5: float("nan"), 7: None}
    write_mixed_run(
        recipe,
        tiny_tokenizer_path,
        tmp_path / "run",
        num_steps=1,
        loss=lambda mixed: losses.get(mixed.index, 1.0 + mixed.index / 100),
    )
    rows = by_loss(rows_of_step(tmp_path / "run", 1).rows)
    assert [row.row for row in rows[:3]] == [5, 3, 11]
    assert rows[-1].row == 7
    mine = worst_rows(tmp_path / "run", 1, rank=1, top=2)
    assert [(row.row, row.rank) for row in mine] == [(11, 1), (10, 1)]
    with pytest.raises(DataError, match="rank 5 has no row of step 1; ranks of this step: 0 to"):
        worst_rows(tmp_path / "run", 1, rank=5, top=2)
    with pytest.raises(DataError, match=r"step 9 is not in the row record \(it holds steps up to"):
        worst_rows(tmp_path / "run", 9, rank=None, top=2)


@pytest.fixture
def pairs(recipe: Path, tmp_path: Path, tiny_tokenizer_path: Path) -> Path:
    """A run, and data of its own that a test may spoil."""
    folder = tmp_path / "world"
    shutil.copytree(recipe.parent, folder)
    write_mixed_run(folder / "recipe.yaml", tiny_tokenizer_path, tmp_path / "run", num_steps=2)
    return tmp_path / "run"


def traced_pairs(run: Path) -> None:
    rows = [row for step in (1, 2) for row in rows_of_step(run, step).rows]
    Tracer(run).texts([row for row in rows if row.source == "pairs"])


def test_a_shard_that_is_gone_or_of_another_size_is_an_error(pairs: Path) -> None:
    traced_pairs(pairs)
    shard = pairs.parent / "world" / "data" / "pairs" / "pairs.jsonl"
    text = shard.read_bytes()
    shard.write_bytes(text + b"\n")
    with pytest.raises(DataError, match="it has changed since"):
        traced_pairs(pairs)
    shard.unlink()
    with pytest.raises(DataError, match=r"shard .pairs/pairs\.jsonl., before its first"):
        traced_pairs(pairs)


def test_a_record_that_was_put_in_the_place_of_another_is_an_error(pairs: Path) -> None:
    shard = pairs.parent / "world" / "data" / "pairs" / "pairs.jsonl"
    lines = shard.read_text(encoding="utf-8").splitlines(keepends=True)
    same_size = []
    for line in lines:  # short texts, and blanks behind them: the size stays
        record = json.dumps({"zh": "山", "en": "x"})
        same_size.append(record + " " * (len(line) - 1 - len(record)) + "\n")
    shard.write_text("".join(same_size), encoding="utf-8")
    with pytest.raises(DataError, match=r"were trained on, but its document has \d+ now"):
        traced_pairs(pairs)
    shard.write_text("".join("[" + line[1:] for line in lines), encoding="utf-8")
    with pytest.raises(DataError, match="it was trained on, but yields no document now"):
        traced_pairs(pairs)


def test_a_shard_of_the_same_size_in_another_order_is_an_error(
    recipe: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(recipe.parent, folder)
    pairs = [json.dumps({"zh": "山" * (1 + n % 9), "en": "the river"}) + "\n" for n in range(40)]
    shard = folder / "data" / "pairs" / "pairs.jsonl"
    shard.write_text("".join(pairs), encoding="utf-8")
    run = tmp_path / "run"
    write_mixed_run(folder / "recipe.yaml", tiny_tokenizer_path, run, num_steps=2)
    traced_pairs(run)
    shard.write_text("".join(pairs[::-1]), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"\(its end\) were trained on, but its document has \d+ now"
    ):
        traced_pairs(run)


def test_a_row_of_which_other_tokens_carry_loss_now_is_an_error(pairs: Path) -> None:
    (row, *_) = rows_of_step(pairs, 1).rows
    Tracer(pairs).texts([row])
    other = replace(row, supervised_tokens=row.supervised_tokens - 1)
    with pytest.raises(DataError, match=r"row 0: \d+ of its tokens carried loss, but "):
        Tracer(pairs).texts([other])


def test_a_pair_behind_an_epochs_end_is_read_as_it_was_trained_on_where_its_length_tells(
    tmp_path: Path, make_corpus: Any
) -> None:
    corpus = make_corpus("kind: parallel\npaths: ['*.jsonl']\n")
    text = json.dumps({"zh": "江", "en": "the river"}) + "\n"
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    lists = [(0, {"a.jsonl": Shard("a.jsonl", len(text.encode()))})]
    source = TracedSource(source_of(corpus, tmp_path, name="x"), lists)
    (tmp_path / "english.model").write_bytes(english_model())
    tokenizer = load_tokenizer(tmp_path / "english.model")
    maker = DocumentMaker(source_of(corpus))
    (raw,) = ShardReader(corpus, tmp_path).read(lists[0][1]["a.jsonl"])
    documents = [maker.make("a.jsonl", raw, epoch) for epoch in (0, 1)]
    encoded = encode_documents(tokenizer, [d for d in documents if isinstance(d, Document)])
    lengths = [len(document.ids) for document in encoded]
    assert len(set(lengths)) == 2
    for length, document in zip(lengths, encoded, strict=True):
        span = TrainedSpan(Span("a.jsonl", 0, 0, length), 0, True)  # of a row that began in epoch 0
        assert find_texts(source, tokenizer, [span])[span].text == tokenizer.decode(document.ids)
    with pytest.raises(DataError, match="has changed since"):
        shorter = Span("a.jsonl", 0, 0, min(lengths) - 1)
        find_texts(source, tokenizer, [TrainedSpan(shorter, 0, True)])


def trained(shard: str, record: int) -> TrainedSpan:
    return TrainedSpan(Span(shard, record, 0, 1), 0, False)


def test_a_record_out_of_range_and_a_shard_that_was_never_listed_are_errors(
    recipe: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    write_mixed_run(recipe, tiny_tokenizer_path, tmp_path / "run", num_steps=1)
    loaded = load_recipe(recipe)
    shards = read_shard_list(tmp_path / "run" / "shards" / "handful.jsonl")
    listed = {shard.path: shard for shard in shards}
    corpus, root = loaded.corpora["handful"], loaded.data_root
    source = TracedSource(source_of(corpus, root), [(0, listed)])
    tokenizer = load_tokenizer(tiny_tokenizer_path)
    shard = "handful/handful.txt"
    with pytest.raises(DataError, match=r"there is no record 3: reading from record 0 on, it ends"):
        find_texts(source, tokenizer, [trained(shard, 3), trained(shard, 0)])
    with pytest.raises(DataError, match="it has nothing from there on"):
        find_texts(source, tokenizer, [trained(shard, 99)])
    with pytest.raises(DataError, match="not in the run's pinned list"):
        find_texts(source, tokenizer, [trained("../secret.txt", 0)])


def test_a_frozen_list_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: the pinned shard list cannot be read"):
        read_shard_list(tmp_path / "none.jsonl")
    (tmp_path / "list.jsonl").write_bytes(orjson.dumps({"path": "x"}) + b"\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_shard_list(tmp_path / "list.jsonl")


def test_a_shard_is_looked_up_in_the_list_of_its_epoch(make_corpus: Any, tmp_path: Path) -> None:
    corpus = make_corpus("kind: text\nlanguage: en\npaths: ['*.txt']\n")
    first, second = {"a": Shard("a", 1)}, {"a": Shard("a", 2), "b": Shard("b", 3)}
    source = TracedSource(source_of(corpus, tmp_path, name="x"), [(0, first), (3, second)])
    assert [source.shard("a", epoch).size_bytes for epoch in (0, 2, 3, 9)] == [1, 1, 2, 2]
    assert source.shard("b", 2).size_bytes == 3  # of a row that ends in epoch 3
