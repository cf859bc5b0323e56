"""Memory of twelve sources, and the time to start with 100,000 shards.

Run by `make bench`, or alone:

    python -m pytest -m benchmark tests/benchmarks/test_memory.py -s
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linly.config.corpus import load_corpus
from linly.data.mixing.source_spec import SourceSpec
from linly.data.mixing.source_stream import SourceStream
from linly.data.reading.shards import list_shards
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.rank_processes import environment
from tests.support.tiny_corpora import source_of
from tests.support.vocabularies import ENGLISH, english_model
from tests.support.worlds import write_world

NUM_SOURCES = 12
NUM_SHARDS = 100_000
MAX_BYTES = 1 << 30

PROGRAM = """
import json, sys
from pathlib import Path
from linly.config.recipe import load_recipe
from linly.data.loading.stream import data_stream
from tests.support.peak_memory import peak_bytes
from tests.support.worlds import plan_of
plan = plan_of(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
rows = data_stream(plan, plan.new_state(), producers=1, prefetch_rows=256, timeout_s=300)
peaks = {}
for number, mixed in enumerate(rows):
    if number % 100 == 0:  # the producer ends with its last row
        for process in Path("/proc/self/task").glob("*/children"):
            peaks |= {child: peak_bytes(child) for child in process.read_text().split()}
rows.close()
print(json.dumps([peak_bytes(), sum(peaks.values())]))
"""


def write_sources(folder: Path) -> Path:
    """Twelve sources of eight gzip shards each; the recipe over them reads all about once."""
    draw = random.Random(3)
    names = [f"source{number}" for number in range(NUM_SOURCES)]
    for name in names:
        (folder / "data" / name).mkdir(parents=True)
        for shard in range(8):
            with gzip.open(folder / "data" / name / f"{shard}.jsonl.gz", "wt", 1) as file:
                for _ in range(300):
                    text = " ".join(draw.choices(ENGLISH, k=draw.randint(1, 60)))
                    file.write(json.dumps({"text": text}) + "\n")
    share = f"{100 / NUM_SOURCES!r}"
    groups = "".join(
        f"  group{i}: {{ratio: {'rest' if i == 0 else share + '%'}, "
        f"sources: {{{name}: {{share: 100%, max_epochs: 100}}}}}}\n"
        for i, name in enumerate(names)
    )
    (folder / "english.model").write_bytes(english_model())
    return write_world(
        folder,
        corpora={
            name: f"language: en\nkind: text\npaths: ['{name}/*.jsonl.gz']\n" for name in names
        },
        curriculum=f"tokens: 8M\nmixture:\n{groups}",
        recipe="run: runs/twelve\ndata: {sequence_length: 2048, global_batch: 8}\n"
        "training: {micro_batch: 1}\n",
    )


@pytest.mark.benchmark
def test_twelve_sources_take_less_than_a_gibibyte(tmp_path: Path) -> None:
    recipe = write_sources(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(recipe), str(tmp_path / "english.model")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    reader, producer = json.loads(done.stdout)
    assert producer
    print(
        f"\n{NUM_SOURCES} sources, one rank: the producer's peak is {producer >> 20} MiB resident, "
        f"that of the process that reads {reader >> 20} MiB"
    )
    assert reader + producer < MAX_BYTES


@pytest.mark.benchmark
def test_a_hundred_thousand_shards_are_listed_and_opened(tmp_path: Path) -> None:
    line = json.dumps({"text": "the river under the old mountain"}) + "\n"
    for shard in range(NUM_SHARDS):
        path = tmp_path / "data" / f"{shard % 100:02}" / f"{shard}.jsonl"
        if shard < 100:
            path.parent.mkdir(parents=True)
        path.write_text(line)
    (tmp_path / "many.yaml").write_text("language: en\nkind: text\npaths: ['*/*.jsonl']\n")
    (tmp_path / "english.model").write_bytes(english_model())
    corpus = load_corpus("many", [tmp_path])
    tokenizer = load_tokenizer(tmp_path / "english.model")
    began = time.perf_counter()
    shards = list_shards(corpus, tmp_path / "data")
    listed = time.perf_counter()
    spec = SourceSpec(
        source=source_of(corpus, tmp_path / "data", name="many"),
        shards=shards,
        seed=1,
        sequence_length=128,
        padding_id=0,
        max_epochs=1,
        on_exhausted="stop",
    )
    next(SourceStream(spec, tokenizer))
    print(
        f"\n{len(shards):,} shards: listed in {listed - began:.2f} s, the first row "
        f"{time.perf_counter() - listed:.2f} s later"
    )
    assert len(shards) == NUM_SHARDS
