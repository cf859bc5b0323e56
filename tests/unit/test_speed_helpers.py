"""tests/support/speed.py and tests/support/real_mixture.py: what the benchmarks stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.data.mixing.stream_plan import StreamPlan
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.real_mixture import (
    MIXTURE,
    make_rows,
    texts_of,
    write_corpus,
    write_recipe,
    write_shards,
)
from tests.support.speed import Measured, Target, side_by_side, table_row
from tests.support.worlds import plan_of

TEXTS = [f"{number} the old bridge in the rain" for number in range(50)]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_path: Path) -> StreamPlan:
    folder = tmp_path_factory.mktemp("dealt")
    write_shards(folder / "data" / "texts", TEXTS, 7)
    write_corpus(folder / "corpora", "texts", "texts/*.jsonl.zst")
    recipe = write_recipe(
        folder,
        {"texts": 100},
        num_rows=40,
        data_root=folder / "data",
        corpora=folder / "corpora",
        sequence_length=64,
    )
    return plan_of(load_recipe(recipe), tiny_tokenizer_path)


def test_alternatives_are_taken_in_turn() -> None:
    taken: list[str] = []

    def take(name: str) -> float:
        taken.append(name)
        return len(taken)

    found = side_by_side({"a": lambda: take("a"), "b": lambda: take("b")}, rounds=3)
    assert taken == ["a", "b"] * 3
    assert (found["a"].values, found["b"].values) == ((1, 3, 5), (2, 4, 6))


def test_a_ratio_is_that_of_figures_of_one_round() -> None:
    ratio = Measured((2.0, 30.0, 8.0)).over(Measured((1.0, 10.0, 2.0)))
    assert ratio.values == (2.0, 3.0, 4.0)
    assert ratio.show(".1f") == "3.0 (2.0-4.0)"


def test_a_row_says_when_its_target_is_missed() -> None:
    ratio = Measured((1.5, 1.5))
    assert "missed" not in table_row("this", "1 and 2", ratio, Target(1.2))
    assert table_row("this", "1 and 2", ratio, Target(1.8)).endswith(
        "1.50 (1.50-1.50) **missed** |"
    )
    assert not Target(0.9, 1.1).met(1.2)


def test_the_shares_of_the_real_mixture_are_60_to_40() -> None:
    assert sum(MIXTURE.values()) == 100
    assert sum(list(MIXTURE.values())[:2]) == 60


def test_dealt_shards_hold_every_text_once_an_epoch(
    plan: StreamPlan, tiny_tokenizer_path: Path
) -> None:
    assert len(plan.sources[0].shards) == 7
    tokenizer = load_tokenizer(tiny_tokenizer_path)
    num_tokens = sum(len(tokenizer.encode(text)) + 2 for text in TEXTS)
    texts = texts_of(plan, tokenizer, num_tokens // 64)
    assert sorted(texts) == sorted(TEXTS)


def test_rows_go_on_from_a_state(plan: StreamPlan, tiny_tokenizer_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_path)
    first = make_rows(plan, tokenizer, 5)
    assert (
        make_rows(plan, tokenizer, 10, first).to_json() == make_rows(plan, tokenizer, 15).to_json()
    )
