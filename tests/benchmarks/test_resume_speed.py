"""How long the first row takes from a state early in a run and from one late in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import orjson
import pytest

from linly.config.recipe import load_recipe
from linly.data.loading.stream import data_stream
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.real_mixture import (
    MIXTURE,
    extend_llama,
    make_rows,
    texts_of,
    write_corpus,
    write_recipe,
    write_shards,
)
from tests.support.speed import Target, side_by_side, table_row, wall_seconds
from tests.support.worlds import plan_of

pytestmark = pytest.mark.benchmark

EARLY, LATE = 1000, 100_000
SEQUENCE_LENGTH = 512
"""Short, to be at the late state soon: what resuming costs does not depend on it."""

ALL_SOURCES_ROWS = 100
CHARACTERS = 2000
NUM_SHARDS = 16


@pytest.fixture(scope="module")
def world(
    real_data: Path, llama_tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict[int, Path]]:
    """A recipe, its tokenizer, and a state behind each of the two rows."""
    folder = tmp_path_factory.mktemp("resume")
    tokenizer_path = extend_llama(llama_tokenizer_path, folder)
    tokenizer = SentencePieceTokenizer.load(tokenizer_path)
    recipe = write_even_recipe(folder, real_data, tokenizer_path)
    plan = plan_of(load_recipe(recipe), tokenizer_path)
    states: dict[int, Path] = {}
    state = plan.new_state()
    for row in (EARLY, LATE):
        state = make_rows(plan, tokenizer, row - state.row, state)
        states[row] = folder / f"state-{row}.json"
        states[row].write_bytes(orjson.dumps(state.to_json()))
    return recipe, tokenizer_path, states


def write_even_recipe(folder: Path, real_data: Path, tokenizer_path: Path) -> Path:
    """The real text in documents of one length, so that no place in it costs more than another."""
    whole = write_recipe(folder, MIXTURE, num_rows=4000, data_root=real_data)
    tokenizer = SentencePieceTokenizer.load(tokenizer_path)
    texts = texts_of(plan_of(load_recipe(whole), tokenizer_path), tokenizer, 4000)
    starts = [(text, at) for text in texts for at in range(0, len(text) - CHARACTERS, CHARACTERS)]
    pieces = [text[at : at + CHARACTERS] for text, at in starts]
    by_name = {
        "english": [piece for piece in pieces if piece.isascii()],
        "others": [piece for piece in pieces if not piece.isascii()],
    }
    for name, documents in by_name.items():
        write_shards(folder / "data" / name, documents, NUM_SHARDS)
        write_corpus(folder / "corpora", name, f"{name}/*.jsonl.zst")
    return write_recipe(
        folder,
        {"english": 60, "others": 40},
        num_rows=LATE + 1000,
        data_root=folder / "data",
        corpora=folder / "corpora",
        sequence_length=SEQUENCE_LENGTH,
    )


def test_the_first_row_of_the_whole_command(
    world: tuple[Path, Path, dict[int, Path]],
) -> None:
    recipe, tokenizer_path, states = world

    def first_row(row: int) -> float:
        command = [
            *(sys.executable, "-m", "linly.cli.main", "mix", str(recipe), "--rows", "1"),
            *("--producers", "0", "--tokenizer", str(tokenizer_path), "--state", str(states[row])),
        ]
        return wall_seconds(lambda: subprocess.run(command, check=True, capture_output=True))

    report("First row of `linly mix --state`, start to end", first_row, rounds=11)


def test_the_first_rows_of_all_sources(world: tuple[Path, Path, dict[int, Path]]) -> None:
    recipe, tokenizer_path, states = world
    plan = plan_of(load_recipe(recipe), tokenizer_path)
    names = ("first row", f"first {ALL_SOURCES_ROWS} rows, of all sources")
    for name, num_rows in zip(names, (1, ALL_SOURCES_ROWS), strict=True):
        take = partial(first_rows, plan, states, num_rows)
        report(f"The {name}, including the tokenizer's loading", take, rounds=41)


def report(what: str, seconds_from: Callable[[int], float], *, rounds: int) -> None:
    found = side_by_side(
        {"early": lambda: seconds_from(EARLY), "late": lambda: seconds_from(LATE)}, rounds=rounds
    )
    early, late = found["early"], found["late"]
    figures = f"{early.median:.2f} s at row {EARLY:,}, {late.median:.2f} s at row {LATE:,}"
    print("\n" + table_row(what, figures, late.over(early), Target(0.9, 1.1)))


def first_rows(plan: StreamPlan, states: dict[int, Path], num_rows: int, row: int) -> float:
    def go_on() -> None:
        state = MixerState.from_json(orjson.loads(states[row].read_bytes()), plan.identity)
        stream = data_stream(plan, state, producers=0, prefetch_rows=1, timeout_s=60)
        assert len(list(islice(stream, num_rows))) == num_rows

    return wall_seconds(go_on)
