"""Mixer and state: one global stream, resumed exactly at any row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linly.config.recipe import load_recipe
from linly.curriculum.apportion import Phase
from linly.curriculum.drift import count_rows
from linly.curriculum.mixture import Mixture
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan, make_mixer
from linly.errors import CheckpointError, ConfigError, DataError
from tests.support.tiny_corpora import load_plan, write_corpora

FROZEN_ORDER = "1a76a85199e5134c8eb330086bb3fd1dd24237f4805db16a3e234f73ef9bf79f"
"""Rolling hash over the tiny stream's sources and pieces: it changes with the order only."""


@pytest.fixture(scope="module")
def plan(tiny_recipe: Path, tiny_tokenizer_path: Path) -> StreamPlan:
    return load_plan(tiny_recipe, tiny_tokenizer_path)


def value(mixed: MixedRow) -> tuple[object, ...]:
    row = mixed.row
    return mixed.index, mixed.digest, row.source, row.epoch, row.spans, row.bad, row.cursor


def plain(state: MixerState) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(state.to_json()))
    return value


def run(
    plan: StreamPlan, state: dict[str, Any] | None = None, num_rows: int | None = None
) -> tuple[list[tuple[object, ...]], dict[str, Any]]:
    """Rows from a state on, and the state behind them."""
    at = plan.new_state() if state is None else MixerState.from_json(state, plan.identity)
    rows = []
    for mixed in islice(make_mixer(plan, at), num_rows):
        at.advance(mixed)
        rows.append(value(mixed))
    return rows, plain(at)


def states_before_rows(plan: StreamPlan) -> list[dict[str, Any]]:
    at = plan.new_state()
    states = []
    for mixed in make_mixer(plan, at):
        states.append(plain(at))
        at.advance(mixed)
    return states


def test_the_state_before_every_row_gives_the_identical_tail(plan: StreamPlan) -> None:
    rows, last = run(plan)
    assert len(rows) == plan.num_rows == 200
    assert {"handful", "pairs", "tasks", "texts"} == {row[2] for row in rows}
    for index, state in enumerate(states_before_rows(plan)):
        tail, end = run(plan, state)
        assert tail == rows[index:], f"state before row {index}"
        assert end == last


def test_tails_stay_identical_over_resumes_in_a_row_also_right_after_a_resume(
    plan: StreamPlan,
) -> None:
    undisturbed, last = run(plan)
    rows: list[tuple[object, ...]] = []
    state: dict[str, Any] | None = None
    for num_rows in (17, 0, 1, 40, 0, 0, 63, 1000):
        more, state = run(plan, state, num_rows)
        rows += more
    assert rows == undisturbed
    assert state == last


def test_the_order_of_rows_is_frozen(plan: StreamPlan) -> None:
    order = hashlib.sha256()
    for mixed in make_mixer(plan, plan.new_state()):
        order.update(f"{mixed.row.source} {mixed.row.epoch}".encode())
        for span in mixed.row.spans:
            order.update(f" {span.shard} {span.record}".encode())
    assert order.hexdigest() == FROZEN_ORDER


def test_the_digest_is_of_ids_labels_and_starts_as_int32_little_endian(plan: StreamPlan) -> None:
    mixed = next(make_mixer(plan, plan.new_state()))
    arrays = (mixed.row.ids, mixed.row.labels, mixed.row.starts)
    data = b"".join(np.asarray(array, "<i4").tobytes() for array in arrays)
    assert mixed.digest == hashlib.sha256(data).digest()


def test_every_prefix_stays_within_one_row_of_the_plan(plan: StreamPlan) -> None:
    order = [mixed.row.source for mixed in make_mixer(plan, plan.new_state())]
    counted = count_rows(plan.phases[0], order, first_row=0, made={}, made_before_phase={})
    assert np.abs(counted.drift).max() < 1


def test_the_state_counts_rows_and_supervised_tokens(plan: StreamPlan) -> None:
    state = plan.new_state()
    rows: Counter[str] = Counter()
    supervised: Counter[str] = Counter()
    rolled = state.order_hash
    for mixed in make_mixer(plan, state):
        state.advance(mixed)
        rows[mixed.row.source] += 1
        supervised[mixed.row.source] += mixed.row.num_supervised
        rolled = hashlib.sha256(bytes.fromhex(rolled) + mixed.digest).hexdigest()
    assert (state.rows, state.supervised_tokens) == (rows, supervised)
    assert state.order_hash == rolled


def test_a_second_phase_counts_from_its_start_and_resumes_exactly(plan: StreamPlan) -> None:
    first = plan.phases[0]
    flat = Mixture({"all": None}, {"all": dict.fromkeys(first.mixture.sources, 0.25)}, num_rows=120)
    amended = replace(plan, phases=(first, Phase(40, flat)))
    rows, _ = run(amended)
    states = states_before_rows(amended)
    assert rows[:40] == run(plan, None, 40)[0]
    assert Counter(row[2] for row in rows[40:]) == dict.fromkeys(first.mixture.sources, 20)
    for index in (39, 40, 41, 90):
        assert run(amended, states[index])[0] == rows[index:]


def test_reordering_sources_and_groups_changes_nothing(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    path = write_corpora(tmp_path)
    before, _ = run(load_plan(path, tiny_tokenizer_path), num_rows=60)
    curriculum = load_recipe(path).curriculum
    form = curriculum.file_form()
    form["mixture"] = dict(reversed(form["mixture"].items()))
    others = form["mixture"]["others"]
    others["sources"] = dict(reversed(others["sources"].items()))
    (tmp_path / "curriculum.yaml").write_text(json.dumps(form))
    assert list(load_recipe(path).curriculum.mixture) != list(curriculum.mixture)
    assert run(load_plan(path, tiny_tokenizer_path), num_rows=60)[0] == before


def test_another_seed_gives_another_order(
    plan: StreamPlan, tiny_recipe: Path, tiny_tokenizer_path: Path
) -> None:
    other = load_plan(tiny_recipe, tiny_tokenizer_path, "data.seed=1")
    assert run(plan, num_rows=20)[0] != run(other, num_rows=20)[0]
    assert plan.new_state().order_hash != other.new_state().order_hash


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.seed=1", r"seed \(state: 2023, run: 1\)"),
        ("data.sequence_length=32", r"sequence_length \(state: 64, run: 32\)"),
        ("corpora.texts.held_out=5%", "shards or corpus file of source 'texts'"),
        ("corpora.tasks.template=linly", "shards or corpus file of source 'tasks'"),
    ],
)
def test_a_state_of_another_stream_is_refused_and_the_difference_named(
    override: str, named: str, plan: StreamPlan, tiny_recipe: Path, tiny_tokenizer_path: Path
) -> None:
    state = run(plan, num_rows=5)[1]
    other = load_plan(tiny_recipe, tiny_tokenizer_path, override)
    with pytest.raises(CheckpointError, match=named):
        MixerState.from_json(state, other.identity)


def test_a_state_fits_when_only_limits_of_errors_and_names_of_files_differ(
    plan: StreamPlan, tiny_recipe: Path, tiny_tokenizer_path: Path
) -> None:
    state = run(plan, num_rows=5)[1]
    other = load_plan(tiny_recipe, tiny_tokenizer_path, "corpora.texts.max_bad_fraction=40%")
    assert run(other, state, 20)[0] == run(plan, state, 20)[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state | {"version": 2},
        lambda state: {key: state[key] for key in state if key != "cursors"},
        lambda state: state | {"more": 1},
        lambda state: state | {"row": "x"},
        lambda state: state | {"row": -5},
        lambda state: state | {"row": 1.5},
        lambda state: state | {"segment_from": -1},
        lambda state: state | {"counts": state["counts"] | {"texts": -1}},
        lambda state: state | {"cursors": {"texts": state["cursors"]["texts"] | {"token": -9}}},
        lambda state: state | {"cursors": {"texts": {}}},
        lambda state: state | {"order_hash": "no hex"},
        lambda state: [state],
    ],
)
def test_a_damaged_state_is_refused(damage: Any, plan: StreamPlan) -> None:
    state = run(plan, num_rows=5)[1]
    with pytest.raises(CheckpointError):
        MixerState.from_json(damage(state), plan.identity)


def with_few_epochs(plan: StreamPlan, policy: Any) -> StreamPlan:
    sources = tuple(
        replace(s, max_epochs=12, on_exhausted=policy) if s.source.name == "handful" else s
        for s in plan.sources
    )
    return replace(plan, sources=sources)


def test_an_exhausted_source_that_may_stop_ends_the_stream_at_a_whole_row(
    plan: StreamPlan,
) -> None:
    mixer = make_mixer(with_few_epochs(plan, "stop"), plan.new_state())
    rows = [value(mixed) for mixed in mixer]
    assert 5 < len(rows) < 200
    assert rows == run(plan)[0][: len(rows)]
    assert mixer.exhausted is not None
    assert (mixer.exhausted.source, mixer.exhausted.records) == ("handful", 36)
    assert next(mixer, None) is None


def test_an_exhausted_source_that_may_not_stop_is_an_error_with_two_ways_out(
    plan: StreamPlan,
) -> None:
    mixer = make_mixer(with_few_epochs(plan, "error"), plan.new_state())
    with pytest.raises(
        DataError, match=r"'handful' has read its max_epochs 12 .*on_exhausted: stop"
    ):
        list(mixer)


def test_closing_ends_the_stream(plan: StreamPlan) -> None:
    mixer = make_mixer(plan, plan.new_state())
    assert len(list(islice(mixer, 20))) == 20
    mixer.close()
    assert next(mixer, None) is None
    assert mixer.exhausted is None


def test_a_damaged_shard_is_an_error_that_names_the_source(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    plan = load_plan(write_corpora(tmp_path), tiny_tokenizer_path)
    shard = tmp_path / "data/texts/shard-3.jsonl.zst"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"source 'texts': .*shard-3.jsonl.zst"):
        list(make_mixer(plan, plan.new_state()))


def test_a_tokenizer_that_changed_since_the_plan_is_refused(
    tmp_path: Path, tiny_recipe: Path, tiny_tokenizer_path: Path, llama_tokenizer_path: Path
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tiny_tokenizer_path.read_bytes())
    plan = load_plan(tiny_recipe, path)
    path.write_bytes(llama_tokenizer_path.read_bytes())
    with pytest.raises(ConfigError, match="restore the file"):
        make_mixer(plan, plan.new_state())


def test_new_shards_under_a_pattern_change_nothing_until_listed_again(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    plan = load_plan(write_corpora(tmp_path), tiny_tokenizer_path)
    before = run(plan, num_rows=60)[0]
    (tmp_path / "data/texts/shard-9.jsonl").write_text('{"text": "new", "keep": true}\n')
    assert run(plan, num_rows=60)[0] == before
