"""`exclude_records`: lists leave records out, exactly these, and no other list passes for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.corpus import Corpus
from linly.config.recipe import load_recipe
from linly.data.documents.templates import DocumentMaker
from linly.data.inspection.estimate import estimate_tokens
from linly.data.mixing.source_spec import SourceSpec, source_fingerprint
from linly.data.mixing.source_stream import SourceStream
from linly.data.mixing.stream_plan import StreamPlan
from linly.data.record_list import ListedRecord, check_lists, write_record_list
from linly.data.types import RawRecord, Shard
from linly.errors import CheckpointError, ConfigError, DataError
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.tiny_corpora import load_plan, write_corpora

LISTED = [("texts/shard-0.jsonl", 4), ("texts/shard-0.jsonl", 29), ("texts/shard-4.jsonl", 1)]
SIZE = 5


def write_list(path: Path, places: list[tuple[str, int]], shards: list[Shard]) -> str:
    records = [ListedRecord("texts", shard, record, "leak") for shard, record in places]
    return write_record_list(path, records, {"texts": shards}, {})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpora, of which `texts` names a list beside its file; gives the recipe."""
    folder = tmp_path_factory.mktemp("listed")
    recipe = write_corpora(folder)
    shards = [
        Shard(str(path.relative_to(folder / "data")), path.stat().st_size)
        for path in sorted((folder / "data/texts").iterdir())
    ]
    write_list(folder / "corpora/leaks.parquet", LISTED, shards)
    write_list(folder / "corpora/other.parquet", LISTED[:1], shards)
    return recipe


def with_list(recipe: Path, name: str) -> str:
    return f"corpora.texts.exclude_records={recipe.parent / 'corpora' / name}"


def plan(recipe: Path, tokenizer: Path, *overrides: str) -> StreamPlan:
    return load_plan(recipe, tokenizer, *overrides)


def texts(of: StreamPlan) -> SourceSpec:
    return next(replace(spec, max_epochs=2) for spec in of.sources if spec.name == "texts")


def test_the_stream_lacks_the_listed_records_and_no_other(
    world: Path, tiny_tokenizer_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_path)
    whole = texts(plan(world, tiny_tokenizer_path))
    listed = texts(plan(world, tiny_tokenizer_path, with_list(world, "leaks.parquet")))
    places = [
        {(span.shard, span.record) for row in SourceStream(spec, tokenizer) for span in row.spans}
        for spec in (whole, listed)
    ]
    assert places[0] - places[1] == set(LISTED)
    assert places[1] < places[0]
    counted = [estimate_tokens(spec.source, spec.shards, tokenizer) for spec in (whole, listed)]
    assert counted[0].documents - counted[1].documents == len(LISTED)
    assert counted[0].bad_records == counted[1].bad_records


def test_a_stream_with_a_list_resumes_at_every_row(world: Path, tiny_tokenizer_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_path)
    spec = texts(plan(world, tiny_tokenizer_path, with_list(world, "leaks.parquet")))
    rows = [(row.ids.tobytes(), row.cursor, row.bad) for row in SourceStream(spec, tokenizer)]
    for index, (_, cursor, _) in enumerate(rows):
        tail = SourceStream(spec, tokenizer, cursor)
        assert [(row.ids.tobytes(), row.cursor, row.bad) for row in tail] == rows[index + 1 :]
    counts = [cursor.position.num_filtered for _, cursor, _ in rows]
    assert all(a <= b for a, b in pairwise(counts))


def test_the_lists_content_is_part_of_the_order_and_its_path_is_not(
    world: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    without = plan(world, tiny_tokenizer_path)
    listed = plan(world, tiny_tokenizer_path, with_list(world, "leaks.parquet"))
    other = plan(world, tiny_tokenizer_path, with_list(world, "other.parquet"))
    found = {source_fingerprint(texts(one)) for one in (without, listed, other)}
    assert len(found) == 3
    (tmp_path / "moved.parquet").write_bytes((world.parent / "corpora/leaks.parquet").read_bytes())
    moved = plan(
        world, tiny_tokenizer_path, f"corpora.texts.exclude_records={tmp_path / 'moved.parquet'}"
    )
    assert source_fingerprint(texts(moved)) == source_fingerprint(texts(listed))
    with pytest.raises(CheckpointError, match="source 'texts'"):
        listed.identity.check(other.identity.to_json())


def test_a_record_that_cannot_be_used_stays_bad(world: Path, tiny_tokenizer_path: Path) -> None:
    spec = texts(plan(world, tiny_tokenizer_path, with_list(world, "leaks.parquet")))
    shard, record = LISTED[0]
    broken = RawRecord(record, None, "broken", 1)
    assert DocumentMaker(spec.source).make(shard, broken, 0).reason == "broken"  # type: ignore[union-attr]


def test_a_list_that_changes_after_the_start_is_refused_by_name(
    world: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "leaks.parquet"
    path.write_bytes((world.parent / "corpora/leaks.parquet").read_bytes())
    spec = texts(plan(world, tiny_tokenizer_path, f"corpora.texts.exclude_records={path}"))
    path.write_bytes((world.parent / "corpora/other.parquet").read_bytes())
    with pytest.raises(DataError, match=f"record list {path}: its sha256 is .* has changed since"):
        DocumentMaker(spec.source)


def test_a_missing_list_is_refused_at_its_line(world: Path) -> None:
    corpus = world.parent / "corpora/texts.yaml"
    written = corpus.read_text()
    corpus.write_text(f"{written}\nexclude_records: gone.parquet\n")
    try:
        with pytest.raises(ConfigError, match=r"texts.yaml:\d+: exclude_records: found .*gone"):
            load_recipe(world)
    finally:
        corpus.write_text(written)


def corpus_with(make_corpus: Callable[..., Corpus], path: Path, name: str = "texts") -> Corpus:
    yaml = f"{{language: en, kind: text, paths: [a], exclude_records: {path}}}"
    return make_corpus(yaml, name=name)


def test_a_list_of_other_corpora_is_refused(
    make_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    write_list(tmp_path / "x.parquet", [], [])
    with pytest.raises(DataError, match="corpus 'wiki' was not scanned for it, only texts"):
        check_lists(corpus_with(make_corpus, tmp_path / "x.parquet", "wiki"), [])


def test_a_shard_that_changed_since_the_scan_is_refused(
    make_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    write_list(tmp_path / "x.parquet", [("a", 1)], [Shard("a", SIZE)])
    corpus = corpus_with(make_corpus, tmp_path / "x.parquet")
    assert check_lists(corpus, [Shard("a", SIZE)]) == ["corpus texts: list x leaves out 1 records"]
    (line,) = check_lists(corpus, [Shard("a", SIZE), Shard("b", 1)])
    assert "1 of 2 shards were not scanned for it, such as b" in line
    with pytest.raises(DataError, match="has 6 bytes, but had 5 when"):
        check_lists(corpus, [Shard("a", SIZE + 1)])


def test_files_that_are_no_list_are_refused(
    make_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    for write in (
        lambda: path.write_bytes(b"PAR1"),
        lambda: pq.write_table(pa.table({"corpus": ["texts"]}), path),
        lambda: path.unlink(),
    ):
        write()
        with pytest.raises(DataError, match=r"record list .*x\.parquet: "):
            check_lists(corpus_with(make_corpus, path), [])
