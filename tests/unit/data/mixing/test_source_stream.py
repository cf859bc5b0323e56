"""linly.data.mixing.source_stream: rows of one source, each a place to go on from."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from linly.config.corpus import Corpus, make_corpus, with_packing
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.data.cursor import SourceCursor
from linly.data.documents.templates import DocumentMaker
from linly.data.inspection.estimate import estimate_tokens
from linly.data.mixing.blocks import BlockLimits
from linly.data.mixing.mixed_row import row_digest
from linly.data.mixing.source_spec import SourceSpec
from linly.data.mixing.source_stream import SourceStream
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import BadRecord, Document, Row, ShardList
from linly.errors import DataError
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.tiny_corpora import (
    NUM_BAD_TEXTS,
    SOURCES,
    TEXT_SHARD_SIZES,
    load_plan,
    source_of,
)

Rows = list[tuple[bytes, tuple[object, ...], SourceCursor, tuple[BadRecord, ...], int]]


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_path: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_path)


@pytest.fixture(scope="module")
def specs(tiny_recipe: Path, tiny_tokenizer_path: Path) -> dict[str, SourceSpec]:
    return {spec.name: spec for spec in load_plan(tiny_recipe, tiny_tokenizer_path).sources}


def stream(
    spec: SourceSpec, tokenizer: Tokenizer, cursor: SourceCursor | None = None
) -> SourceStream:
    return SourceStream(spec, tokenizer, cursor)


def values(rows: Iterator[Row]) -> Rows:
    return [(row_digest(row), row.spans, row.cursor, row.bad, row.epoch) for row in rows]


def saved(cursor: SourceCursor) -> SourceCursor:
    return SourceCursor.from_json(json.loads(json.dumps(cursor.to_json())))


def documents_of(spec: SourceSpec, epoch: int) -> dict[tuple[str, int], Document]:
    """What an epoch must give, read shard by shard without blocks."""
    maker = DocumentMaker(spec.source)
    made = [
        maker.make(shard.path, raw, epoch)
        for shard in spec.shards
        for raw in ShardReader(spec.source.corpus, spec.source.data_root).read(shard)
    ]
    return {(d.shard, d.record): d for d in made if isinstance(d, Document)}


@pytest.mark.parametrize("name", SOURCES)
def test_a_stream_opened_behind_any_row_gives_the_identical_tail(
    name: str, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    spec = replace(specs[name], max_epochs=160 if name == "handful" else 3)
    rows = values(stream(spec, tokenizer))
    assert len(rows) > 40
    assert rows[-1][-1] >= 2, "the rows must span epochs"
    step = 3 if name == "handful" else 1
    for index in range(0, len(rows), step):
        again = values(stream(spec, tokenizer, saved(rows[index][2])))
        assert again == rows[index + 1 :], f"row {index}"


@pytest.mark.parametrize("num_begun", [0, 1, 2])
def test_a_list_made_later_moves_no_row_of_an_epoch_that_has_begun(
    num_begun: int, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    """It holds from its epoch on; the tail behind any row is the same as before."""
    whole = replace(specs["texts"], max_epochs=3)
    fewer = replace(whole, shards=whole.shards[::2])
    listed_again = replace(fewer, later_lists=(ShardList(num_begun, whole.shards),))
    rows, before = values(stream(listed_again, tokenizer)), values(stream(fewer, tokenizer))
    shards = {row[-1]: set[str]() for row in rows}
    for _, spans, _, _, epoch in rows:
        shards[epoch] |= {span.shard for span in spans}  # type: ignore[attr-defined]
    for epoch, found in shards.items():
        listed = whole.shards if epoch >= num_begun else fewer.shards
        assert found >= {shard.path for shard in listed if "shard-2" not in shard.path}
    begun = [row for row in before if row[-1] < num_begun]
    assert rows[: max(len(begun) - 1, 0)] == begun[:-1]  # the last goes on into the next epoch
    for index in range(0, len(rows), 3):
        again = values(stream(listed_again, tokenizer, saved(rows[index][2])))
        assert again == rows[index + 1 :], f"row {index}"


@pytest.mark.parametrize("name", SOURCES)
def test_tails_stay_identical_over_three_resumes_in_a_row(
    name: str, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    spec = specs[name]
    undisturbed = values(islice(stream(spec, tokenizer), 24))
    rows: Rows = []
    cursor = None
    for length in (3, 1, 7, 13):
        rows += values(islice(stream(spec, tokenizer, cursor), length))
        cursor = saved(rows[-1][2])
    assert rows == undisturbed


@pytest.mark.parametrize("name", SOURCES)
def test_every_token_of_every_document_is_in_a_row_once_an_epoch(
    name: str, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    spec = replace(specs[name], max_epochs=2)
    ended = stream(spec, tokenizer)
    rows = list(ended)
    assert ended.exhausted is not None
    tokens: Counter[tuple[str, int, int]] = Counter()
    for row in rows:
        for span, start in zip(row.spans, row.starts.tolist(), strict=True):
            ids = row.ids[start : start + span.end - span.start]
            assert len(ids) == span.end - span.start
            for token in range(span.start, span.end):
                tokens[span.shard, span.record, token] += 1
    lengths = Counter[tuple[str, int]]()
    for epoch in (0, 1):
        for key, document in documents_of(spec, epoch).items():
            encoded = sum(len(tokenizer.encode(segment.text)) for segment in document.segments)
            lengths[key] += encoded + 2
    assert set(tokens.values()) <= {1, 2}
    assert sum(tokens.values()) + ended.exhausted.tokens_left == sum(lengths.values())
    assert {key[:2] for key in tokens} | set() <= set(lengths)


@pytest.mark.parametrize("max_epochs", [1.25, 1.5, 2.01, 2.5])
@pytest.mark.parametrize("packing", ["chunk", "best-fit", "one-document"])
def test_a_part_of_an_epoch_is_as_many_tokens_as_a_plan_counts(
    packing: str, max_epochs: float, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """Of lines by length: in the order of reading the first half of the records is short."""
    lines = [json.dumps({"text": "word " * (1 + number // 8)}) for number in range(160)]
    (tmp_path / "sorted.jsonl").write_text("\n".join(lines))
    text = f'language: en\nkind: text\npaths: ["sorted.jsonl"]\npacking: {packing}\n'
    corpus = make_corpus("sorted", parse_yaml(text, Origin("sorted.yaml", 1, tmp_path)))
    spec = SourceSpec(
        source=source_of(corpus, tmp_path, name="sorted"),
        shards=list_shards(corpus, tmp_path),
        seed=1,
        sequence_length=32,
        padding_id=0,
        max_epochs=max_epochs,
        on_exhausted="stop",
        limits=BlockLimits(num_records=16),
    )
    length = spec.sequence_length
    counted = estimate_tokens(spec.source, spec.shards, tokenizer, sequence_length=length)
    assert (counted.padding > 0) == (packing == "one-document")
    planned = math.floor(max_epochs * (counted.tokens + counted.padding) / length)
    ended = stream(spec, tokenizer)
    rows = values(ended)
    assert ended.exhausted is not None and planned <= len(rows)
    if packing != "best-fit":
        assert len(rows) <= planned + 2
    half = len(rows) - 3
    assert values(stream(spec, tokenizer, saved(rows[half][2]))) == rows[half + 1 :]
    assert values(stream(replace(spec, max_epochs=3), tokenizer))[: len(rows)] == rows


def test_a_cursor_that_counts_no_rows_goes_on_all_the_same(
    specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    """Checkpoints made before rows were counted hold such cursors."""
    spec = replace(specs["texts"], max_epochs=3)
    rows = values(stream(spec, tokenizer))
    written = rows[5][2].to_json()
    for key in ("epoch_rows", "rows_per_epoch"):
        del written[key]
    again = values(stream(spec, tokenizer, SourceCursor.from_json(written)))
    assert [row[0] for row in again] == [row[0] for row in rows[6:]]


@pytest.mark.parametrize("name", SOURCES)
def test_the_ids_of_a_span_are_those_of_its_document(
    name: str, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    spec = specs[name]
    by_epoch = [documents_of(spec, epoch) for epoch in (0, 1)]
    for row in islice(stream(spec, tokenizer), 20):
        for span, start in zip(row.spans, row.starts.tolist(), strict=True):
            candidates = []
            for documents in by_epoch:
                segments = documents[span.shard, span.record].segments
                parts = [tokenizer.encode(segment.text) for segment in segments]
                ids = [tokenizer.bos_id, *np.concatenate(parts).tolist(), tokenizer.eos_id]
                candidates.append(ids[span.start : span.end])
            got = row.ids[start : start + span.end - span.start].tolist()
            assert got in candidates


@pytest.mark.parametrize("name", SOURCES)
def test_one_document_rows_hold_one_document_each_and_lose_no_token(
    name: str, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    source = specs[name].source
    source = replace(source, corpus=with_packing(source.corpus, "one-document"))
    spec = replace(specs[name], source=source, max_epochs=2)
    ended = stream(spec, tokenizer)
    rows = list(ended)
    assert ended.exhausted is not None and ended.exhausted.tokens_left == 0
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row in rows:
        (span,) = row.spans
        assert row.starts.tolist() == [0]
        assert row.num_padding == spec.sequence_length - (span.end - span.start)
        padding = slice(spec.sequence_length - row.num_padding, None)
        assert (row.ids[padding] == spec.padding_id).all()
        assert (row.labels[padding] == -100).all()
        spans.setdefault((span.shard, span.record), []).append((span.start, span.end))
    assert spans.keys() == documents_of(spec, 0).keys()
    for found in spans.values():
        starts = [start for start, _ in found]
        assert starts.count(0) == 2, "each epoch once"
        for (start, end), (after, _) in pairwise(found):
            assert after in (end, 0), "cut without a gap"
            assert after == 0 or end - start == spec.sequence_length
    for index, row in enumerate(rows):
        tail = values(stream(spec, tokenizer, saved(row.cursor)))
        assert tail == values(iter(rows[index + 1 :]))


def test_chunked_rows_have_no_padding_and_best_fit_rows_only_at_their_end(
    specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    assert all(row.num_padding == 0 for row in islice(stream(specs["texts"], tokenizer), 40))
    padded = [row for row in islice(stream(specs["tasks"], tokenizer), 40) if row.num_padding]
    assert padded
    for row in padded:
        assert (row.ids[-row.num_padding :] == specs["tasks"].padding_id).all()
        assert (row.labels[-row.num_padding :] == -100).all()


def test_a_document_without_prompt_has_loss_on_all_but_the_first_token_in_a_row(
    specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    for row in islice(stream(specs["texts"], tokenizer), 30):
        without = np.flatnonzero(row.labels == -100)
        assert without.tolist() == row.starts.tolist()
        assert np.array_equal(np.delete(row.labels, without), np.delete(row.ids, without))


@pytest.mark.parametrize("name", ["texts", "tasks"])
def test_bad_records_are_reported_exactly_once_an_epoch_however_often_it_resumes(
    name: str, specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    spec = replace(specs[name], max_epochs=2)
    expected = NUM_BAD_TEXTS if name == "texts" else 2
    reported: list[BadRecord] = []
    cursor = None
    while True:
        opened = stream(spec, tokenizer, cursor)
        row = next(opened, None)  # a resume at every row
        if row is None:
            assert opened.exhausted is not None
            reported += opened.exhausted.bad
            break
        reported += row.bad
        cursor = saved(row.cursor)
    assert len(reported) == 2 * expected
    assert set(Counter((bad.shard, bad.record) for bad in reported).values()) == {2}
    assert all(bad.source == name for bad in reported)


def test_the_cursor_counts_records_bad_and_filtered_ones(
    specs: dict[str, SourceSpec], tokenizer: Tokenizer
) -> None:
    rows = list(stream(replace(specs["texts"], max_epochs=4), tokenizer))
    positions = [row.cursor.position for row in rows]
    assert all(
        a.num_records <= b.num_records
        and a.num_bad <= b.num_bad
        and a.num_filtered <= b.num_filtered
        for a, b in pairwise(positions)
    )
    size = sum(TEXT_SHARD_SIZES)
    last = positions[-1]
    assert 3.5 * size < last.num_records <= 4 * size
    assert sum(len(row.bad) for row in rows) == last.num_bad
    assert abs(last.num_filtered - last.num_records / 10) <= 4


def write_source(folder: Path, corpus: Corpus, lines: list[str]) -> SourceSpec:
    (folder / "many.jsonl").write_text("".join(line + "\n" for line in lines))
    return SourceSpec(
        source=source_of(corpus, folder, name="many"),
        shards=list_shards(corpus, folder),
        seed=1,
        sequence_length=64,
        padding_id=0,
        max_epochs=2,
        on_exhausted="stop",
    )


def many(make_corpus: object, extra: str = "") -> Corpus:
    text = f'language: en\nkind: text\npaths: ["many.jsonl"]\n{extra}\n'
    return make_corpus(text, name="many")  # type: ignore[operator, no-any-return]


def test_too_many_bad_records_stop_the_source_also_behind_a_resume(
    tmp_path: Path, make_corpus: object, tokenizer: Tokenizer
) -> None:
    good, bad = json.dumps({"text": "the old bridge sings"}), "{"
    lines = [bad if index % 50 == 0 else good for index in range(3000)]
    spec = write_source(tmp_path, many(make_corpus), lines)
    rows = []
    with pytest.raises(DataError, match=r"source 'many': \d+ of 1\d\d\d records are bad") as caught:
        rows.extend(stream(spec, tokenizer))
    assert "many.jsonl, record" in str(caught.value)
    with pytest.raises(DataError, match=r"source 'many': \d+ of 1\d\d\d records are bad"):
        list(stream(spec, tokenizer))
    assert sum(len(row.spans) for row in rows) > 100
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        with pytest.raises(DataError, match=r"source 'many': \d+ of 1\d\d\d records are bad"):
            list(stream(spec, tokenizer, row.cursor))


def test_fewer_bad_records_than_allowed_do_not_stop_it(
    tmp_path: Path, make_corpus: object, tokenizer: Tokenizer
) -> None:
    good, bad = json.dumps({"text": "the old bridge sings"}), "{"
    lines = [bad if index % 50 == 0 else good for index in range(1500)]
    spec = write_source(tmp_path, many(make_corpus, "max_bad_fraction: 5%"), lines)
    opened = stream(spec, tokenizer)
    num_bad = sum(len(row.bad) for row in opened)
    assert opened.exhausted is not None
    assert num_bad + len(opened.exhausted.bad) == 60


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ('{"text": "x", "keep": 0}', "where: [{field: keep, equal: 1}]"),
        ("{", "max_bad_fraction: 100%"),
    ],
)
def test_a_source_without_any_document_is_an_error_not_an_endless_loop(
    line: str, extra: str, tmp_path: Path, make_corpus: object, tokenizer: Tokenizer
) -> None:
    spec = write_source(tmp_path, many(make_corpus, extra), [line] * 20)
    with pytest.raises(DataError, match=r"'many': a whole epoch gave no document: of 20 records"):
        next(stream(replace(spec, max_epochs=1e9), tokenizer))


def test_a_shard_that_shrank_since_the_state_was_made_is_noticed(
    tmp_path: Path, make_corpus: object, tokenizer: Tokenizer
) -> None:
    long = json.dumps({"text": "the old bridge sings of rain " * 40})
    spec = write_source(tmp_path, many(make_corpus), [long] * 3)
    rows = list(islice(stream(spec, tokenizer), 3))
    shard = tmp_path / "many.jsonl"
    shard.write_text(json.dumps({"text": "short"}).ljust(shard.stat().st_size - 1) + "\n")
    with pytest.raises(DataError, match="the shard has changed since the state was saved"):
        next(stream(spec, tokenizer, rows[-1].cursor))


def test_a_shard_of_another_size_than_listed_is_refused(
    tmp_path: Path, make_corpus: object, tokenizer: Tokenizer
) -> None:
    spec = write_source(tmp_path, many(make_corpus), [json.dumps({"text": "the old bridge"})] * 3)
    with (tmp_path / "many.jsonl").open("a") as shard:
        shard.write(json.dumps({"text": "one more"}) + "\n")
    with pytest.raises(DataError, match="it has changed since"):
        next(stream(spec, tokenizer))
