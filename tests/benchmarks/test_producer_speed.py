"""What a second producer gives: the consumer here only counts rows."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.data.loading.stream import data_stream
from tests.support.real_mixture import MIXTURE, SEQUENCE_LENGTH, extend_llama, write_recipe
from tests.support.speed import Target, side_by_side, table_row, wall_seconds
from tests.support.worlds import plan_of

pytestmark = pytest.mark.benchmark

NUM_ROWS = 8000
"""Measured: the text about twice."""


@pytest.mark.parametrize(
    ("what", "settling_rows", "target"),
    [
        # Processes have started by then, and rows made ahead at the start are gone.
        ("new word caches", 1000, Target()),
        # Each process learns the words by itself; by then both have met nearly all of them.
        ("warm word caches", 12_000, Target(1.8)),
    ],
)
def test_two_producers_beside_one(
    what: str,
    settling_rows: int,
    target: Target,
    real_data: Path,
    llama_tokenizer_path: Path,
    tmp_path: Path,
) -> None:
    tokenizer_path = extend_llama(llama_tokenizer_path, tmp_path)
    num_rows = settling_rows + NUM_ROWS
    recipe = write_recipe(tmp_path, MIXTURE, num_rows=num_rows, data_root=real_data)
    plan = plan_of(load_recipe(recipe), tokenizer_path)

    def tokens_per_s(producers: int) -> float:
        stream = data_stream(
            plan, plan.new_state(), producers=producers, prefetch_rows=256, timeout_s=300
        )
        try:
            count(islice(stream, settling_rows))
            seconds = wall_seconds(lambda: count(islice(stream, NUM_ROWS)))
        finally:
            stream.close()
        return NUM_ROWS * SEQUENCE_LENGTH / seconds

    found = side_by_side({"one": lambda: tokens_per_s(1), "two": lambda: tokens_per_s(2)}, rounds=3)
    one, two = (found[key].median / 1e6 for key in ("one", "two"))
    figures = f"{one:.2f} and {two:.2f} M tokens/s on {os.cpu_count()} cores"
    ratio = found["two"].over(found["one"])
    print("\n" + table_row(f"Two producers relative to one, {what}", figures, ratio, target))


def count(rows: islice[object]) -> int:
    return sum(1 for _ in rows)
