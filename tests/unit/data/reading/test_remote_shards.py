"""Remote shards give the rows that local ones give, bit for bit, whatever the network does."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linly.config.corpus import Corpus
from linly.data.inspection.held_out import held_out_documents
from linly.data.loading.stream import data_stream
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.source_spec import SourceSpec
from linly.data.mixing.source_stream import SourceStream
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan
from linly.data.reading.shards import ShardReader, list_held_out_shards, list_shards
from linly.data.types import RawRecord
from linly.errors import ConfigError, DamagedShardError, DataError
from linly.storage.open_files import BLOCK_BYTES
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.commands import linly_ok
from tests.support.remote_servers import FileServer, HubServer, s3_store, serving, use_s3
from tests.support.tiny_corpora import SOURCES, load_plan, source_of, write_corpora

MakeCorpus = Callable[..., Corpus]

QUICK = "read_attempts: 4, read_delay_s: 0.001"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpora(tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def store(recipe: Path) -> Iterator[str]:
    files = files_below(recipe.parent / "data")
    with s3_store("texts", {f"data/{name}": content for name, content in files.items()}) as address:
        yield address


def remote_recipe(recipe: Path, folder: Path, base: str) -> Path:
    """The same recipe with its shards below `base`, and no data root."""
    for path in sorted(recipe.parent.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8").replace('["', f'["{base}/')
        text = text.replace(', "', f', "{base}/')
        if "paths" in text:
            text += f"{QUICK.replace(', ', chr(10))}\n"
        target = folder / path.relative_to(recipe.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder / "recipe.yaml"


def value(mixed: MixedRow, base: str = "") -> tuple[object, ...]:
    """A row without the place of its shards."""
    row = mixed.row
    spans = tuple(p._replace(shard=p.shard.removeprefix(base)) for p in row.spans)
    bad = tuple(replace(b, shard=b.shard.removeprefix(base)) for b in row.bad)
    return mixed.index, mixed.digest, row.source, row.epoch, spans, bad, row.cursor


def rows_of(
    plan: StreamPlan, producers: int, state: MixerState | None = None
) -> Iterator[MixedRow]:
    stream = data_stream(
        plan,
        state if state is not None else plan.new_state(),
        producers=producers,
        prefetch_rows=16,
        timeout_s=60,
    )
    try:
        yield from stream
    finally:
        stream.close()


@pytest.mark.parametrize("producers", [0, 1])
def test_the_rows_of_a_bucket_are_those_of_a_folder(
    producers: int,
    recipe: Path,
    store: str,
    tmp_path: Path,
    tiny_tokenizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = [value(mixed) for mixed in rows_of(load_plan(recipe, tiny_tokenizer_path), 0)]
    use_s3(monkeypatch, store)
    base = "s3://texts/data"
    plan = load_plan(remote_recipe(recipe, tmp_path, base), tiny_tokenizer_path)
    assert {spec.source.name for spec in plan.sources} == set(SOURCES)
    assert [value(mixed, f"{base}/") for mixed in rows_of(plan, producers)] == local


def test_a_resume_on_a_bucket_goes_on_with_the_identical_rows(
    recipe: Path,
    store: str,
    tmp_path: Path,
    tiny_tokenizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_s3(monkeypatch, store)
    path = remote_recipe(recipe, tmp_path, "s3://texts/data")
    plan = load_plan(path, tiny_tokenizer_path)
    undisturbed = [value(mixed) for mixed in rows_of(plan, 0)]
    rows, state = [], plan.new_state()
    for num_rows in (13, 50, 200):
        plan = load_plan(path, tiny_tokenizer_path)  # listed again: the versions are the same
        state = MixerState.from_json(json.loads(json.dumps(state.to_json())), plan.identity)
        for mixed in islice(rows_of(plan, 0, state.copy()), num_rows):
            state.advance(mixed)
            rows.append(value(mixed))
    assert rows == undisturbed


TEXTS = [f"{i} {random.Random(i).randbytes(600).hex()}" for i in range(3000)]


def lines() -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS)


def parquet(texts: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"text": texts, "unread": [b"\xff"] * len(texts)}), sink, row_group_size=700
    )
    return sink.getvalue()


def arrow(texts: list[str]) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": texts})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)
    return sink.getvalue()


SHARDS = {
    "a.jsonl": lines,
    "a.jsonl.zst": lambda: zstandard.compress(lines()),
    "a.jsonl.gz": lambda: gzip.compress(lines(), 1),
    "a.parquet": lambda: parquet(TEXTS),
    "a.arrow": lambda: arrow(TEXTS),
}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({}) as server:
        yield server


def corpus_of(make_corpus: MakeCorpus, *paths: str, more: str = "") -> Corpus:
    return make_corpus(
        f"{{language: en, kind: text, paths: {json.dumps(paths)}, {QUICK}{more}}}", name="far"
    )


def texts_of(records: Iterator[RawRecord]) -> list[str]:
    found = []
    for raw in records:
        assert raw.error is None and raw.value is not None
        found.append(raw.value["text"])
    return found


@pytest.mark.parametrize("name", SHARDS)
def test_a_shard_whose_transfer_drops_many_times_gives_exactly_its_records(
    name: str, server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    content = SHARDS[name]()
    assert len(content) > 1.5 * BLOCK_BYTES
    server.files[f"/{name}"] = content
    corpus = corpus_of(make_corpus, f"{server.url}/{name}", more=", damaged_shards: quarantine")
    (shard,) = list_shards(corpus, tmp_path / "not there")
    draw = random.Random(name)
    server.faults.drops = sorted(draw.sample(range(1, len(content) - 1), 8))
    server.faults.short = [len(content) // 3]
    server.faults.statuses = [503]
    assert texts_of(ShardReader(corpus, tmp_path).read(shard)) == TEXTS
    assert len(server.faults.drops) < 4, "the drops came where they were read"
    middle = len(TEXTS) // 2
    found = texts_of(ShardReader(corpus, tmp_path).read(shard, start_record=middle))
    assert found == TEXTS[middle:]


def test_line_aligned_files_pair_over_a_network(
    server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    server.files |= {"/un/a.en": b"one\ntwo\n", "/un/a.zh": "一\n二\n".encode()}
    corpus = make_corpus(
        f'{{kind: parallel, paths: {{en: "{server.url}/un/*.en", zh: "{server.url}/un/*.zh"}}}}'
    )
    (shard,) = list_shards(corpus, tmp_path)
    assert shard.path == f"{server.url}/un/a.en\t{server.url}/un/a.zh"
    assert shard.size_bytes == 16
    values = [raw.value for raw in ShardReader(corpus, tmp_path).read(shard)]
    assert values == [{"en": "one", "zh": "一"}, {"en": "two", "zh": "二"}]


def test_little_of_a_large_shard_is_fetched_before_its_first_record(
    server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    server.files["/large.jsonl"] = b'{"text": "a line of some length"}\n' * (1 << 21)
    corpus = corpus_of(make_corpus, f"{server.url}/large.jsonl")
    (shard,) = list_shards(corpus, tmp_path)
    assert shard.size_bytes > 64 * BLOCK_BYTES
    records = ShardReader(corpus, tmp_path).read(shard)
    next(records)
    records.close()  # type: ignore[attr-defined]
    assert server.asked_bytes() <= 3 * BLOCK_BYTES


def test_only_the_columns_asked_for_are_fetched_of_a_parquet_shard(
    server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    sink = io.BytesIO()
    columns = {"text": ["short"] * 100, "unread": [random.Random(0).randbytes(100_000)] * 100}
    pq.write_table(pa.table(columns), sink, use_dictionary=False, compression="none")
    server.files["/a.parquet"] = sink.getvalue()
    corpus = corpus_of(make_corpus, f"{server.url}/a.parquet")
    (shard,) = list_shards(corpus, tmp_path)
    assert shard.size_bytes > 9_000_000
    assert len(list(ShardReader(corpus, tmp_path).read(shard))) == 100
    assert server.asked_bytes() < 1_000_000


def spec_of(corpus: Corpus) -> SourceSpec:
    return SourceSpec(
        source=source_of(corpus, Path("/not/there"), name="far-source"),
        shards=list_shards(corpus, Path("/not/there")),
        seed=1,
        sequence_length=64,
        padding_id=0,
        max_epochs=2,
        on_exhausted="stop",
    )


def test_storage_that_stays_away_stops_the_source_and_quarantines_nothing(
    server: FileServer, make_corpus: MakeCorpus, tiny_tokenizer_path: Path
) -> None:
    server.files["/a.jsonl"] = lines()
    corpus = corpus_of(make_corpus, f"{server.url}/a.jsonl", more=", damaged_shards: quarantine")
    spec = spec_of(corpus)
    rows = SourceStream(spec, load_tokenizer(tiny_tokenizer_path))
    bad = [*next(rows).bad]
    server.faults.always = 503
    with pytest.raises(DataError) as caught:
        for row in rows:
            bad += row.bad
    assert not isinstance(caught.value, DamagedShardError)
    assert bad == []
    for part in ("corpus 'far'", "a.jsonl'", "after record", "reading byte", "4 attempts"):
        assert part in str(caught.value)


@pytest.mark.parametrize("gives_etags", [True, False])
def test_a_shard_that_changed_since_it_was_listed_is_refused(
    gives_etags: bool, server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    server.gives_etags = gives_etags
    server.files["/a.jsonl"] = b'{"text": "one"}\n'
    corpus = corpus_of(make_corpus, f"{server.url}/a.jsonl", more=", damaged_shards: quarantine")
    (shard,) = list_shards(corpus, tmp_path)
    server.files["/a.jsonl"] = b'{"text": "two"}\n' if gives_etags else b'{"text": "three"}\n'
    with pytest.raises(DataError, match="it has changed since"):
        list(ShardReader(corpus, tmp_path).read(shard))


def test_remote_files_are_left_out_and_held_out_by_name_and_by_hash(
    server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    for name in "abcd":
        text = "".join(json.dumps({"text": f"{name} {i}"}) + "\n" for i in range(200))
        server.files[f"/{name}.jsonl"] = text.encode()
        (tmp_path / f"{name}.jsonl").write_text(text)
    base = server.url
    more = f', exclude: ["{base}/b*"], held_out: ["{base}/c.jsonl"]'
    corpus = corpus_of(make_corpus, f"{base}/*.jsonl", more=more)
    paths = [shard.path for shard in list_shards(corpus, tmp_path)]
    assert paths == [f"{base}/a.jsonl", f"{base}/d.jsonl"]
    held_out = list_held_out_shards(corpus, tmp_path)
    assert [shard.path for shard in held_out] == [f"{base}/c.jsonl"]
    found = []
    for pattern in (f"{base}/*.jsonl", "*.jsonl"):
        corpus = corpus_of(make_corpus, pattern, more=", held_out: 10%")
        shards = list_shards(corpus, tmp_path)
        documents = held_out_documents(source_of(corpus, tmp_path), shards, max_documents=50)
        found.append([(document.record, document.segments) for document in documents])
    assert len(found[0]) == 50
    assert found[0] == found[1]


def test_a_file_on_the_web_is_the_same_however_its_name_is_quoted(
    server: FileServer, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    names = ("汉.jsonl", "a b.jsonl", "a+b.jsonl", "q?.jsonl", "100%.jsonl", "c.jsonl", "d.jsonl")
    server.files = {f"/x/{quote(name)}": json.dumps({"text": name}).encode() for name in names}
    latin = "/x/%D6%D0.jsonl"  # not UTF-8
    server.files[latin] = b'{"text": "latin"}'
    base = f"{server.url}/x"

    def trained(paths: str, more: str) -> list[str]:
        corpus = corpus_of(make_corpus, f"{base}/{paths}", f"{base}/*.jsonl", more=more)
        reader = ShardReader(corpus, tmp_path)
        held_out = {shard.path for shard in list_held_out_shards(corpus, tmp_path)}
        shards = list_shards(corpus, tmp_path)
        assert not held_out & {shard.path for shard in shards}
        assert all(shard.path.isascii() for shard in shards)
        return sorted(text for shard in shards for text in texts_of(reader.read(shard)))

    assert trained("汉*", "") == sorted([*names, "latin"])
    for one in names:
        assert len(trained(quote(one), "")) == len(names) + 1  # named twice, read once
    for more in (
        f', held_out: ["{base}/汉.jsonl", "{base}/a b.jsonl", "{base}/c.jsonl"]',
        f', held_out: ["{base}/%e6%b1%89.jsonl", "{base}/a%20b.jsonl", "{base}/%63.jsonl"]',
        f', exclude: ["{base}/汉*", "{base}/a [b].jsonl", "{base}/%63.*"]',
    ):
        expected = sorted(["latin", "a+b.jsonl", "q?.jsonl", "100%.jsonl", "d.jsonl"])
        assert trained("d.jsonl", more) == expected


HUB_PROGRAM = """
import sys
from pathlib import Path
from linly.config.corpus import load_corpus
from linly.data.reading.shards import ShardReader, list_shards
corpus = load_corpus("far", [Path(sys.argv[1])])
for shard in list_shards(corpus, Path("/not/there")):
    print(shard.path, shard.size_bytes, shard.version is not None, flush=True)
    input()
    records = ShardReader(corpus, Path("/not/there")).read(shard)
    print(sum(len(raw.value["text"]) for raw in records))
"""


def test_a_dataset_of_a_hub_is_read_with_the_token_of_the_environment(tmp_path: Path) -> None:
    """In a process of its own: the client takes its hub's address from the environment once."""
    shards = {"data/a.parquet": parquet(TEXTS), "data/b.parquet": parquet(TEXTS[:5]), "note": b"n"}
    server = HubServer(shards)
    paths = "hf://datasets/org/name/data/*.parquet"
    (tmp_path / "far.yaml").write_text(
        f"{{language: en, kind: text, paths: ['{paths}'], {QUICK}, damaged_shards: quarantine}}"
    )
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_of_the_environment"}
    try:
        with subprocess.Popen(
            [sys.executable, "-c", HUB_PROGRAM, str(tmp_path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            first = process.stdout.readline().split()
            assert first[1:] == [str(len(shards["data/a.parquet"])), "True"]
            server.faults.drops = [1_500_000, 100_000]
            server.faults.statuses = [503, 503]
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{sum(map(len, TEXTS))}\n"
            assert process.stdout.readline().startswith("hf://datasets/org/name/data/b.parquet")
            resolved = "/datasets/org/name/resolve/main/data/b.parquet"
            server.files[resolved] = server.files[resolved][:-1] + b"x"
            _, errors = process.communicate("\n")
    finally:
        server.close()
    assert "DataError" in errors and "it has changed since" in errors
    tokens = {request.headers.get("authorization") for request in server.requests}
    assert tokens == {"Bearer hf_of_the_environment"}


@pytest.mark.parametrize(
    "path", ["file:///etc/passwd", "simplecache::s3://b/a.jsonl", "https://host/../a.jsonl"]
)
def test_a_url_that_is_not_allowed_is_refused_in_a_corpus_file_and_in_a_frozen_list(
    path: str, make_corpus: MakeCorpus, tmp_path: Path, server: FileServer
) -> None:
    with pytest.raises(ConfigError, match="paths"):
        corpus_of(make_corpus, path)
    server.files["/a.jsonl"] = b'{"text": "one"}\n'
    corpus = corpus_of(make_corpus, f"{server.url}/a.jsonl")
    (shard,) = list_shards(corpus, tmp_path)
    with pytest.raises(ConfigError, match="found path"):
        list(ShardReader(corpus, tmp_path).read(replace(shard, path=path)))


def test_the_commands_that_look_at_data_look_at_a_bucket(
    recipe: Path,
    store: str,
    tmp_path: Path,
    tiny_tokenizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_s3(monkeypatch, store)
    path = remote_recipe(recipe, tmp_path, "s3://texts/data")
    monkeypatch.chdir(tmp_path)
    linly_ok("corpora", "show", "pairs", "--tokenizer", str(tiny_tokenizer_path))
    assert "s3://texts/data/pairs/pairs.jsonl, record 0" in capsys.readouterr().out
    linly_ok("corpora", "new", "s3://texts/data/texts/*.jsonl.zst", "--name", "guessed")
    written = (tmp_path / "corpora" / "guessed.yaml").read_text()
    assert "s3://texts/data/texts/*.jsonl.zst" in written
    linly_ok(
        "vocab",
        "train",
        "--corpus",
        "pairs",
        "--corpus",
        "texts",
        "--output",
        "zh.model",
        "--size",
        "360",
    )
    assert (tmp_path / "zh.model").stat().st_size > 0
    capsys.readouterr()
    linly_ok("plan", str(path), "--json", "--tokenizer", str(tiny_tokenizer_path))
    planned = json.loads(capsys.readouterr().out)
    assert {source["name"] for source in planned["sources"]} == set(SOURCES)
    assert all(source["available"]["tokens"] > 0 for source in planned["sources"])


def test_a_frozen_list_carries_the_version_and_the_fingerprint_follows_it(
    store: str, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linly.data.mixing.stream_plan import source_fingerprint

    use_s3(monkeypatch, store)
    spec = spec_of(corpus_of(make_corpus, "s3://texts/data/pairs/*.jsonl"))
    (shard,) = spec.shards
    assert shard.version is not None
    other = replace(spec, shards=(replace(shard, version='"other"'),))
    unknown = replace(spec, shards=(replace(shard, version=None),))
    assert len({source_fingerprint(s) for s in (spec, other, unknown)}) == 3
    assert np.unique([len(source_fingerprint(s)) for s in (spec, other)]).tolist() == [64]
