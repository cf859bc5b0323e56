"""Whether the speed of a producer holds as sources and shards grow: the same text, dealt out."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.data.mixing.stream_plan import StreamPlan
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.real_mixture import (
    MIXTURE,
    SEQUENCE_LENGTH,
    extend_llama,
    make_rows,
    texts_of,
    write_corpus,
    write_recipe,
    write_shards,
)
from tests.support.speed import Measured, Target, cpu_seconds, side_by_side, table_row
from tests.support.worlds import plan_of

pytestmark = pytest.mark.benchmark

NUM_ROWS = 4000
"""Of all the text, once."""

NUM_SOURCES = (1, 3, 12)
NUM_SHARDS = (10, 1000, 10_000)
PASSES = 3
"""Over the sources: each has a batch of documents more encoded at the end than it has used."""

REPEATS = 16
"""Of the text in the shards, so that one of 10,000 still holds some 40 kB."""


@pytest.fixture(scope="module")
def tokenizer_path(llama_tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extend_llama(llama_tokenizer_path, tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture(scope="module")
def texts(
    real_data: Path, tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    folder = tmp_path_factory.mktemp("mixture")
    recipe = write_recipe(folder, MIXTURE, num_rows=4000, data_root=real_data)
    tokenizer = SentencePieceTokenizer.load(tokenizer_path)
    return texts_of(plan_of(load_recipe(recipe), tokenizer_path), tokenizer, 4000)


def test_from_1_to_12_sources(texts: list[str], tokenizer_path: Path, tmp_path: Path) -> None:
    plans = {}
    for num_sources in NUM_SOURCES:
        folder = tmp_path / str(num_sources)
        names = [f"source-{number:02d}" for number in range(num_sources)]
        for number, name in enumerate(names):
            write_shards(folder / "data" / name, texts[number::num_sources], 48 // num_sources)
            write_corpus(folder / "corpora", name, f"{name}/*.jsonl.zst")
        plans[num_sources] = plan(folder, names, tokenizer_path, NUM_ROWS * PASSES)
    compare("sources", plans, tokenizer_path, NUM_ROWS * PASSES, rounds=5)


def test_from_10_to_10_000_shards(texts: list[str], tokenizer_path: Path, tmp_path: Path) -> None:
    plans = {}
    for num_shards in NUM_SHARDS:
        folder = tmp_path / str(num_shards)
        write_shards(folder / "data" / "texts", texts * REPEATS, num_shards)
        write_corpus(folder / "corpora", "texts", "texts/*.jsonl.zst")
        plans[num_shards] = plan(folder, ["texts"], tokenizer_path, NUM_ROWS * REPEATS)
    # All of it, or each would read another part of the text, faster or slower to encode.
    compare("shards", plans, tokenizer_path, NUM_ROWS * REPEATS, rounds=3)


def plan(folder: Path, names: list[str], tokenizer_path: Path, num_rows: int) -> StreamPlan:
    recipe = write_recipe(
        folder,
        {name: 100 / len(names) for name in names},
        num_rows=num_rows,
        data_root=folder / "data",
        corpora=folder / "corpora",
    )
    return plan_of(load_recipe(recipe), tokenizer_path)


def compare(
    what: str,
    plans: dict[int, StreamPlan],
    tokenizer_path: Path,
    num_rows: int,
    *,
    rounds: int,
) -> None:
    """Print the speed of each beside that of the first, all words known."""
    tokenizer = SentencePieceTokenizer.load(tokenizer_path)
    for each in plans.values():
        make_rows(each, tokenizer, num_rows)

    def tokens_per_s(each: StreamPlan) -> float:
        seconds = cpu_seconds(lambda: make_rows(each, tokenizer, num_rows))
        return num_rows * SEQUENCE_LENGTH / seconds

    found: dict[str, Measured] = side_by_side(
        {str(number): (lambda each=each: tokens_per_s(each)) for number, each in plans.items()},
        rounds=rounds,
    )
    first, *others = plans
    print()
    for number in others:
        one, many = found[str(first)], found[str(number)]
        figures = f"{one.median / 1e6:.2f} and {many.median / 1e6:.2f} M tokens/s"
        row = f"{number:,} {what} relative to {first}, warm word cache"
        print(table_row(row, figures, many.over(one), Target(0.9)))
