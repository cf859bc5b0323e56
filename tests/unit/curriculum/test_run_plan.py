"""Plans: rows, epochs, steps, world sizes, and refusals that say what would be enough."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.curriculum import Curriculum, load_curriculum
from linly.curriculum.run_plan import (
    Available,
    Batch,
    Plan,
    check_plan,
    make_plan,
    valid_world_sizes,
)
from linly.errors import ConfigError

TEXT = """
tokens: 10M
mixture:
  english:
    ratio: {curve: linear, from: 80%, to: 20%}
    sources: {web: 60%, books: 40%}
  chinese:
    ratio: rest
    sources: {wiki: {share: 100%, max_epochs: 2}}
"""


@pytest.fixture
def curriculum(tmp_path: Path) -> Curriculum:
    return read(tmp_path, TEXT)


def read(tmp_path: Path, text: str) -> Curriculum:
    path = tmp_path / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return load_curriculum(path)


def has(tokens: int) -> Available:
    return Available(tokens=tokens, supervised_tokens=tokens, exact=True, has_held_out=True)


def plan_with(curriculum: Curriculum, **tokens: int) -> Plan:
    available = {name: has(count) for name, count in tokens.items()}
    return make_plan(curriculum, sequence_length=100, batch=Batch(512, 4), available=available)


def test_rows_steps_and_remainder_follow_the_documented_floors(curriculum: Curriculum) -> None:
    plan = plan_with(curriculum)
    assert plan.num_rows == 10_000_000 // 100
    assert plan.num_steps == 100_000 // 512
    assert plan.remainder_rows == 100_000 % 512
    assert sum(source.rows for source in plan.sources) == plan.trained_rows
    (note,) = plan.notes()
    assert f"the last {100_000 % 512} rows do not fill a step" in note
    assert plan.warnings() == []


def test_a_curriculum_by_itself_counts_all_rows(curriculum: Curriculum) -> None:
    plan = make_plan(curriculum, sequence_length=2048, extra_positions=[0.4])
    rows = {source.name: source.rows for source in plan.sources}
    assert sum(rows.values()) == plan.num_rows == 10_000_000 // 2048
    assert plan.positions == (0.0, 0.4, 0.5, 1.0)
    wiki = next(source for source in plan.sources if source.name == "wiki")
    assert wiki.shares == pytest.approx((0.2, 0.44, 0.5, 0.8))
    assert abs(rows["wiki"] - plan.num_rows / 2) < 1
    assert (plan.num_steps, plan.world_sizes, plan.warnings()) == (0, (), [])


@given(st.integers(1, 600), st.integers(1, 16))
def test_valid_world_sizes_are_those_that_divide(global_batch: int, micro_batch: int) -> None:
    sizes = valid_world_sizes(Batch(global_batch, micro_batch))
    every = range(1, global_batch + 1)
    assert list(sizes) == [size for size in every if global_batch % (size * micro_batch) == 0]


def test_epochs_are_planned_tokens_over_available_ones(curriculum: Curriculum) -> None:
    plan = plan_with(curriculum, wiki=2_500_000)
    wiki, web = (next(s for s in plan.sources if s.name == name) for name in ("wiki", "web"))
    assert wiki.epochs == pytest.approx(2.0, rel=0.01)
    assert wiki.tokens == wiki.rows * 100
    assert web.epochs is None
    check_plan(plan, curriculum)


def test_too_many_epochs_are_refused_with_the_change_that_helps(tmp_path: Path) -> None:
    curriculum = read(tmp_path, TEXT)
    with pytest.raises(ConfigError) as caught:
        check_plan(plan_with(curriculum, web=500_000), curriculum)
    message = str(caught.value)
    assert "source web: 6.0" in message
    assert "allowed: 4" in message
    fewer = re.search(r"tokens: (\S+) instead of 10M", message)
    share = re.search(r"sources\.web\.share: (\S+) instead of 60%", message)
    assert fewer is not None and share is not None
    shorter = read(tmp_path, TEXT.replace("10M", fewer[1]))
    check_plan(plan_with(shorter, web=500_000), shorter)
    assert shorter.tokens > 0.98 * 10_000_000 * 4 / 6
    rest = 100 - float(share[1].rstrip("%"))
    lower = read(tmp_path, TEXT.replace("60%", share[1]).replace("40%", f"{rest}%"))
    check_plan(plan_with(lower, web=500_000), lower)


def test_a_source_alone_in_its_group_is_advised_by_its_ratio(curriculum: Curriculum) -> None:
    with pytest.raises(ConfigError, match=r"mixture\.chinese\.ratio at most (49|50)"):
        check_plan(plan_with(curriculum, wiki=1_250_000), curriculum)


def test_every_source_that_is_exceeded_is_named(curriculum: Curriculum) -> None:
    with pytest.raises(ConfigError) as caught:
        check_plan(plan_with(curriculum, wiki=100_000, web=100_000), curriculum)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "source wiki" in lines[0] and "source web" in lines[1]


def test_on_exhausted_stop_is_allowed_and_says_where_the_run_ends(tmp_path: Path) -> None:
    text = TEXT.replace("max_epochs: 2", "max_epochs: 2, on_exhausted: stop")
    curriculum = read(tmp_path, text)
    plan = plan_with(curriculum, wiki=1_250_000)
    check_plan(plan, curriculum)
    wiki = next(source for source in plan.sources if source.name == "wiki")
    # the integral 0.2 u + 0.3 u^2 reaches 2.5M of 10M tokens
    assert wiki.ends_at == pytest.approx(((0.04 + 4 * 0.3 * 0.25) ** 0.5 - 0.2) / 0.6, abs=1e-4)
    assert any("source wiki: runs out after 2 epochs" in text for text in plan.warnings())


def test_a_source_without_tokens_is_refused_even_with_stop(tmp_path: Path) -> None:
    text = TEXT.replace("max_epochs: 2", "on_exhausted: stop")
    curriculum = read(tmp_path, text)
    with pytest.raises(ConfigError, match=r"source wiki: .* 0 available: check its corpus"):
        check_plan(plan_with(curriculum, wiki=0), curriculum)


def test_sources_without_held_out_documents_and_without_rows_are_named(tmp_path: Path) -> None:
    text = TEXT.replace("web: 60%, books: 40%", "web: 99.9999%, books: 0.0001%")
    curriculum = read(tmp_path, text)
    bare = Available(tokens=9_000_000, supervised_tokens=1, exact=False, has_held_out=False)
    plan = make_plan(curriculum, sequence_length=1000, available={"web": bare})
    assert [text for text in plan.warnings() if "held out" in text] == [
        "source web: no document is held out, so nothing evaluates it"
    ]
    assert any("source books: its share is too small for one row" in t for t in plan.warnings())


def test_five_billion_tokens_are_planned_in_seconds(tmp_path: Path) -> None:
    curriculum = read(tmp_path, TEXT.replace("10M", "5B"))
    started = time.process_time()
    plan = make_plan(curriculum, sequence_length=2048)
    assert time.process_time() - started < 10
    assert sum(source.rows for source in plan.sources) == 2_441_406
