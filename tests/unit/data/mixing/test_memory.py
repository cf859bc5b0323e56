"""Memory is bounded: by bytes, wherever records, rows or shards may be large."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linly.config.corpus import load_corpus
from linly.data.loading.producer import ProducedRows
from linly.data.reading.shards import ShardReader, list_shards
from tests.support.rank_processes import environment
from tests.support.remote_servers import FileServer, serving
from tests.support.tiny_corpora import load_plan
from tests.support.vocabularies import english_model
from tests.support.worlds import write_records, write_world

LIMIT_BYTES = 3 << 30
"""Of addresses: Arrow reserves 1 GiB that it does not use, orjson asks for 12 times a line."""
RECORD_BYTES = 50 << 20

CORPORA = {
    "blobs": 'paths: ["blobs.jsonl.zst"]\nwhere: [{field: blob, not_in: [""]}]',
    "books": 'paths: ["books.jsonl.zst"]',
    "lines": 'paths: ["lines.jsonl"]',
}
CURRICULUM = """
    tokens: 128000
    mixture:
      all:
        ratio: 100%
        sources:
          blobs: {share: 0.2%, max_epochs: 1000000}
          books: {share: 99.6%, max_epochs: 1000000}
          lines: {share: 0.2%, max_epochs: 1000000}
    """
RECIPE = """
    run: runs/large
    data: {sequence_length: 128, global_batch: 8}
    training: {micro_batch: 1}
    """


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over records of 50 MB: 30 of little text and a field to filter by, one all text."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "english.model").write_bytes(english_model())
    (folder / "data").mkdir()
    head = "language: en\nkind: text\nheld_out: 0%\n"
    recipe = write_world(
        folder,
        corpora={name: head + paths for name, paths in CORPORA.items()},
        curriculum=CURRICULUM,
        recipe=RECIPE,
    )
    draw = random.Random(1)
    fast = zstandard.ZstdCompressor(level=-5)
    with zstandard.open(folder / "data" / "blobs.jsonl.zst", "wb", cctx=fast) as file:
        for index in range(30):
            seed = draw.randbytes(64 << 10).hex().encode()  # more and it would be a bomb
            file.write(b'{"text": "%d the river", "blob": "' % index)
            for _ in range(RECORD_BYTES // len(seed)):
                file.write(seed)
            file.write(b'"}\n')
    words = "the river under the old mountain walks slowly\n"
    book = json.dumps({"text": words * (RECORD_BYTES // len(words))}).encode()
    line = draw.randbytes(200_000).hex().encode()
    with zstandard.open(folder / "data" / "books.jsonl.zst", "wb", cctx=fast) as file:
        file.write(b'{"unread": "' + line + b'"' + b", " + book[1:] + b"\n")
    write_records(
        folder / "data" / "lines.jsonl", ({"text": f"{i} the old bridge"} for i in range(50))
    )
    return recipe


PROGRAM = """
import resource, sys
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from pathlib import Path
from linly.config.recipe import load_recipe
from linly.data.loading.stream import data_stream
from tests.support.worlds import plan_of
plan = plan_of(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
options = {"producers": int(sys.argv[4]), "prefetch_rows": 10**9, "timeout_s": 300}
rows = data_stream(plan, plan.new_state(), **options)
sources = [mixed.row.source for mixed in rows]
rows.close()
print(len(sources), *sorted(set(sources)))
"""


QUIETLY: dict[str, Any] = {
    "env": environment() | {"OPENBLAS_NUM_THREADS": "1"},
    "capture_output": True,
    "text": True,
}


@pytest.mark.parametrize("producers", [pytest.param(0, marks=pytest.mark.exhaustive), 1])
def test_records_of_50_megabytes_and_rows_of_1_kilobyte_stay_below_a_limit(
    producers: int, large: Path
) -> None:
    """A block without a bound in bytes would hold 1.5 GB, the words of one text 1.8 GB more."""
    arguments = [str(large), str(large.parent / "english.model"), str(LIMIT_BYTES), str(producers)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], **QUIETLY)
    assert done.stdout == "1000 blobs books lines\n", done.stderr[-2000:]


def test_memory_that_does_not_suffice_for_a_record_makes_no_bad_record(
    large: Path,
) -> None:
    """Else the rows would depend on the machine."""
    arguments = [str(large), str(large.parent / "english.model"), str(1800 << 20), "0"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], **QUIETLY)
    assert done.returncode == 1
    assert re.search(
        r"MemoryError|not enough memory to parse its 5\d,\d{3},\d{3} bytes", done.stderr
    ), done.stderr[-2000:]


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({}) as server:
        yield server


def is_at_rest(process_id: int, since: int) -> tuple[bool, int]:
    """Whether a process waits and has not worked `since`, and how much it has worked by now."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return fields[0] == "S" and ticks == since, ticks


def wait_until_at_rest(process_id: int) -> None:
    num_rests, ticks = 0, -1
    while num_rests < 10:
        time.sleep(0.05)
        rests, ticks = is_at_rest(process_id, ticks)
        num_rests = num_rests + 1 if rests else 0


@pytest.mark.parametrize("producers", [1, 2])
def test_a_consumer_that_does_not_read_stops_the_producer(
    producers: int, server: FileServer, tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    """What the producers have fetched tells how far they have gone."""
    words = ("the river under the old mountain walks slowly " * 20).encode()
    names, share = ("books", "plays"), "{share: 50%, max_epochs: 1, on_exhausted: stop}"
    for name in names:
        server.files[f"/{name}.jsonl"] = (b'{"text": "' + words + b'"}\n') * 10_000
    recipe = write_world(
        tmp_path,
        corpora={
            name: f"language: en\nkind: text\npaths: ['{server.url}/{name}.jsonl']\n"
            for name in names
        },
        curriculum="tokens: 100M\nmixture: {all: {ratio: 100%, sources: "
        f"{{books: {share}, plays: {share}}}}}}}\n",
        recipe=RECIPE,
    )
    plan = load_plan(recipe, tiny_tokenizer_path)
    server.requests.clear()
    rows = ProducedRows(
        plan,
        plan.new_state(),
        num_producers=producers,
        prefetch_rows=10**9,
        timeout_s=60,
        prefetch_bytes=1 << 20,
    )
    try:
        next(rows)
        assert len(rows.process_ids) == producers
        for process_id in rows.process_ids:
            wait_until_at_rest(process_id)
        # 1 MiB of rows is as much text here; a socket's buffers and blocks come on top.
        assert server.asked_bytes() <= sum(map(len, server.files.values())) / 2
        assert next(rows).index == 1
    finally:
        rows.close()


def test_a_row_group_is_read_in_pieces(server: FileServer, tmp_path: Path) -> None:
    draw = random.Random(2)
    sink = io.BytesIO()
    table = pa.table({"text": [draw.randbytes(5_000).hex() for _ in range(6000)]})
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    server.files["/a.parquet"] = sink.getvalue()
    (tmp_path / "far.yaml").write_text(
        f"language: en\nkind: text\npaths: ['{server.url}/a.parquet']\n"
    )
    corpus = load_corpus("far", [tmp_path])
    (shard,) = list_shards(corpus, tmp_path)
    records = ShardReader(corpus, tmp_path).read(shard)
    next(records)
    assert server.asked_bytes() < shard.size_bytes / 2
    assert len(list(records)) == 5999
