"""A damaged shard stops the source, or gives what comes before the damage, by its policy."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linly.config.corpus import Corpus
from linly.data.cursor import BlockStart, SourceCursor
from linly.data.mixing.blocks import Block, BlockLimits, BlockReader
from linly.data.mixing.mixed_row import row_digest
from linly.data.mixing.source_spec import SourceSpec
from linly.data.mixing.source_stream import SourceStream
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import BadRecord, Row
from linly.errors import DamagedShardError, DataError
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.tiny_corpora import source_of

MakeCorpus = Callable[..., Corpus]

NUM_RECORDS = 400
RECORDS = [{"text": f"{i} the old bridge {i * 7919 % 1009} under rain"} for i in range(NUM_RECORDS)]
LINES = b"".join(orjson.dumps(record) + b"\n" for record in RECORDS)


def frames() -> bytes:
    """zstd in frames of 50 lines with checksums, as a program writes that flushes."""
    lines = LINES.splitlines(keepends=True)
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    return b"".join(compressor.compress(b"".join(lines[i : i + 50])) for i in range(0, 400, 50))


def parquet() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": [record["text"] for record in RECORDS]})
    pq.write_table(
        table, sink, row_group_size=50, write_page_checksum=True, use_dictionary=False,
        compression="none",
    )  # fmt: skip
    return sink.getvalue()


def flipped(data: bytes, at: float) -> bytes:
    damaged = bytearray(data)
    damaged[int(len(data) * at)] ^= 4
    return bytes(damaged)


DAMAGE: dict[str, tuple[str, bytes, range]] = {
    "zst minus one byte": ("b.jsonl.zst", frames()[:-1], range(350, 401)),
    "one frame minus one byte": ("b.jsonl.zst", zstandard.compress(LINES)[:-1], range(401)),
    "zst half": ("b.jsonl.zst", frames()[: len(frames()) // 2], range(150, 250)),
    "zst bit flip": ("b.jsonl.zst", flipped(frames(), 0.7), range(200, 300)),
    "gz minus one byte": ("b.jsonl.gz", gzip.compress(LINES)[:-1], range(399, 401)),
    "gz half": ("b.jsonl.gz", gzip.compress(LINES)[:2000], range(50, 399)),
    "gzip named zst": ("b.jsonl.zst", gzip.compress(LINES), range(1)),
    "zero length": ("b.jsonl", b"", range(1)),
    "zero length zst": ("b.jsonl.zst", b"", range(1)),
    "truncated parquet": ("b.parquet", parquet()[:-100], range(1)),
    "parquet bit flip": ("b.parquet", flipped(parquet(), 0.5), range(100, 300)),
    "truncated array": ("b.json", orjson.dumps(RECORDS)[:-1], range(400, 401)),
    "broken array": ("b.json", orjson.dumps(RECORDS)[:9000] + b"\0", range(100, 399)),
}
"""Name -> (shard's name, its bytes, how many records may come before the damage)."""


def corpus_of(make_corpus: MakeCorpus, policy: str, more: str = "") -> Corpus:
    text = f'{{language: en, kind: text, paths: ["*"], damaged_shards: {policy}{more}}}'
    return make_corpus(text, name="mine")


def fill(folder: Path, name: str, content: bytes) -> None:
    """A shard with this content between two whole ones."""
    for whole in ("a.jsonl", "c.jsonl"):
        (folder / whole).write_bytes(LINES)
    (folder / name).write_bytes(content)


def spec_of(corpus: Corpus, folder: Path) -> SourceSpec:
    return SourceSpec(
        source=source_of(corpus, folder, name="mine"),
        shards=list_shards(corpus, folder),
        seed=1,
        sequence_length=64,
        padding_id=0,
        max_epochs=2,
        on_exhausted="stop",
        limits=BlockLimits(num_records=64, size_bytes=1 << 20, interleave=2),
    )


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_path: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_path)


def rows_of(
    spec: SourceSpec, tokenizer: Tokenizer, cursor: SourceCursor | None = None
) -> tuple[list[Row], tuple[BadRecord, ...]]:
    """All rows, and the bad records of the stream in order."""
    stream = SourceStream(spec, tokenizer, cursor)
    rows = list(stream)
    assert stream.exhausted is not None
    return rows, (*(bad for row in rows for bad in row.bad), *stream.exhausted.bad)


def value(row: Row) -> tuple[object, ...]:
    return row_digest(row), row.spans, row.cursor, row.bad


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_an_error_that_names_shard_position_and_the_way_out(
    kind: str, tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    name, content, _ = DAMAGE[kind]
    fill(tmp_path, name, content)
    corpus = corpus_of(make_corpus, "error")
    _, shard, _ = list_shards(corpus, tmp_path)
    with pytest.raises(DamagedShardError) as caught:
        list(ShardReader(corpus, tmp_path).read(shard))
    for part in ("corpus 'mine'", f"shard '{name}'", "record", "damaged_shards: quarantine"):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_comes_before_damage_is_given_and_one_record_stands_for_the_rest(
    kind: str, tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    name, content, before = DAMAGE[kind]
    fill(tmp_path, name, content)
    corpus = corpus_of(make_corpus, "quarantine")
    _, shard, _ = list_shards(corpus, tmp_path)
    *good, end = ShardReader(corpus, tmp_path).read(shard)
    assert len(good) in before
    assert [raw.value for raw in good] == RECORDS[: len(good)]
    assert (end.record, end.value, end.ends_shard) == (len(good), None, True)
    assert "the rest of the shard is left out due to damage" in (end.error or "")
    for start in {0, len(good) // 2, len(good)}:
        again = list(ShardReader(corpus, tmp_path).read(shard, start_record=start))
        assert again == [*good, end][start:]


def test_all_but_the_last_line_of_a_shard_that_lost_its_last_byte_is_given(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    """Also when all of it is one piece for the decompressor."""
    compressor = zstandard.ZstdCompressor(write_checksum=True, level=1)
    fill(tmp_path, "b.jsonl.zst", compressor.compress(LINES * 200)[:-1])
    corpus = corpus_of(make_corpus, "quarantine")
    _, shard, _ = list_shards(corpus, tmp_path)
    *good, end = ShardReader(corpus, tmp_path).read(shard)
    assert end.ends_shard
    assert len(good) >= 0.98 * 200 * NUM_RECORDS


@pytest.mark.parametrize(
    ("packing", "kind"),
    [*(("chunk", kind) for kind in DAMAGE), ("best-fit", "zst half"), ("best-fit", "zero length")],
)
def test_a_resume_behind_any_row_finds_the_same_damage_and_names_it_once_an_epoch(
    kind: str, packing: str, tmp_path: Path, make_corpus: MakeCorpus, tokenizer: Tokenizer
) -> None:
    name, content, _ = DAMAGE[kind]
    fill(tmp_path, name, content)
    spec = spec_of(corpus_of(make_corpus, "quarantine", f", packing: {packing}"), tmp_path)
    rows, bad = rows_of(spec, tokenizer)
    assert [(b.shard, b.ends_shard) for b in bad] == [(name, True)] * 2
    assert bad[0] == bad[1]
    assert rows[-1].epoch == 1
    step = max(1, len(rows) // 12)
    for index in range(0, len(rows), step):
        cursor = SourceCursor.from_json(json.loads(json.dumps(rows[index].cursor.to_json())))
        again, _ = rows_of(spec, tokenizer, cursor)
        assert [value(row) for row in again] == [value(row) for row in rows[index + 1 :]]


@pytest.mark.parametrize("num_records", [1, 2, 3])
def test_a_block_may_end_at_the_damage(
    num_records: int, tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    few = b"".join(LINES.splitlines(keepends=True)[:4])
    (tmp_path / "a.jsonl").write_bytes(few)
    (tmp_path / "b.jsonl").write_bytes(b"")
    (tmp_path / "c.json").write_bytes(orjson.dumps(RECORDS[:4])[:-1])
    corpus = corpus_of(make_corpus, "quarantine")
    shards = list_shards(corpus, tmp_path)

    def blocks(start: BlockStart) -> Iterator[Block]:
        reader = BlockReader(
            source="mine",
            seed=1,
            shards=shards,
            open_shard=ShardReader(corpus, tmp_path).read,
            start=start,
            max_epochs=2,
            limits=BlockLimits(num_records=num_records, interleave=2),
        )
        return iter(reader.read, None)

    found = list(blocks(BlockStart()))
    records = [(shard, raw.record) for block in found for shard, raw in block.records]
    assert len(records) == 2 * (4 + 1 + 5)
    assert len(set(records)) == 10
    for index, block in enumerate(found):
        assert list(blocks(block.start)) == found[index:]


def test_rows_before_the_damage_are_the_same_whatever_the_policy(
    tmp_path: Path, make_corpus: MakeCorpus, tokenizer: Tokenizer
) -> None:
    """So a run that stopped may be told to go on, and resumes."""
    name, content, _ = DAMAGE["zst half"]
    fill(tmp_path, name, content)
    going_on, _ = rows_of(spec_of(corpus_of(make_corpus, "quarantine"), tmp_path), tokenizer)
    stopped = []
    spec = spec_of(corpus_of(make_corpus, "error"), tmp_path)
    with pytest.raises(DamagedShardError):
        stopped.extend(SourceStream(spec, tokenizer))
    assert len(stopped) > 5
    assert [value(row) for row in stopped] == [value(row) for row in going_on[: len(stopped)]]


def test_damage_counts_as_one_bad_record(
    tmp_path: Path, make_corpus: MakeCorpus, tokenizer: Tokenizer
) -> None:
    fill(tmp_path, "b.jsonl.zst", frames()[:-1])
    spec = spec_of(corpus_of(make_corpus, "quarantine", ", max_bad_fraction: 0%"), tmp_path)
    with pytest.raises(DataError, match=r"1 of 1\d\d\d records are bad.*\n.*rest of the shard"):
        rows_of(spec, tokenizer)
    for index in range(20):
        (tmp_path / f"d{index}.jsonl").write_bytes(b"")
    spec = spec_of(corpus_of(make_corpus, "quarantine", ", max_bad_fraction: 1%"), tmp_path)
    with pytest.raises(DataError, match=r"records are bad, more than max_bad_fraction 1.00%"):
        rows_of(spec, tokenizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"other"), "it has changed since"),
    ],
)
def test_a_shard_that_is_gone_or_another_is_no_damage(
    change: Callable[[Path], None], message: str, tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    fill(tmp_path, "b.jsonl", LINES)
    corpus = corpus_of(make_corpus, "quarantine")
    _, shard, _ = list_shards(corpus, tmp_path)
    change(tmp_path / "b.jsonl")
    with pytest.raises(DataError, match=message) as caught:
        list(ShardReader(corpus, tmp_path).read(shard))
    assert not isinstance(caught.value, DamagedShardError)


def test_a_corpus_whose_columns_are_wrong_is_no_damage(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet())
    (tmp_path / "b.json").write_bytes(b"a line\n")
    corpus = corpus_of(make_corpus, "quarantine", ", fields: {text: none}")
    for shard in list_shards(corpus, tmp_path):
        with pytest.raises(DataError, match=r"no column none|set `format: jsonl`"):
            list(ShardReader(corpus, tmp_path).read(shard))
