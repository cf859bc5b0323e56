"""How much the data path costs: `linly mix` beside sentencepiece alone on the same text."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
import sentencepiece
import zstandard

pytestmark = pytest.mark.benchmark

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_ROWS = 4000
RECIPE = """\
curriculum: {repository}/curricula/demo-english.yaml
corpora: ["{repository}/corpora/demo"]
data_root: {data}
run: {data}/run
data:
  sequence_length: 256
  global_batch: 16
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded sample with an English vocabulary of 2,000 pieces."""
    folder = tmp_path_factory.mktemp("bench")
    linly("sample", "--output", str(folder))
    linly(
        *("vocab", "train", "--corpus", "slimpajama", "--size", "2000", "--coverage", "1"),
        *("--corpora", str(REPOSITORY / "corpora/demo"), "--data-root", str(folder)),
        *("--output", str(folder / "english.model")),
    )
    return folder


def linly(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linly.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )


def sentencepiece_tokens_per_s(folder: Path) -> float:
    """Of one thread that encodes the sample's SlimPajama texts and does nothing else."""
    texts = [
        orjson.loads(line)["text"]
        for path in sorted(folder.glob("slimpajama/train/*/*.jsonl.zst"))
        for line in zstandard.ZstdDecompressor().decompress(path.read_bytes()).splitlines()
    ]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "english.model"))
    began = time.perf_counter()
    num_tokens = sum(len(processor.encode(text)) for text in texts)
    return num_tokens / (time.perf_counter() - began)


def test_the_data_path_is_not_slower_than_half_of_sentencepiece(sample: Path) -> None:
    recipe = sample / "bench.yaml"
    recipe.write_text(RECIPE.format(repository=REPOSITORY, data=sample))
    done = linly(
        *("mix", str(recipe), "--rows", str(NUM_ROWS), "--producers", "0"),
        *("--tokenizer", str(sample / "english.model"), "--output", str(sample / "rows.jsonl")),
    )
    print(done.stderr.strip())
    match = re.search(r"([\d,]+) tokens/s", done.stderr)
    assert match is not None, done.stderr
    mixed = float(match.group(1).replace(",", ""))
    bare = sentencepiece_tokens_per_s(sample)
    print(f"mix {mixed:,.0f} tokens/s, sentencepiece alone {bare:,.0f} tokens/s")
    assert mixed > bare / 2
