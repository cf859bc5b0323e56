"""Exact ratios: every prefix, any shares and curves, taken up at any row."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.shapes import Cosine, Linear, Step
from linly.curriculum import deadlines
from linly.curriculum.apportion import Apportioner, Phase, row_counts
from linly.curriculum.curves import CurveFunction
from linly.curriculum.deadlines import UNITS, drift_bound
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError
from tests.support.mixture_strategies import counts_by_prefix, mixtures, schedule

EXACT = 2.0 / UNITS
"""What rounding integrals to a unit may add to the bound."""


def single_group(shares: dict[str, float], num_rows: int) -> Mixture:
    return Mixture({"g": None}, {"g": shares}, num_rows=num_rows)


def linly_mixture(num_rows: int) -> Mixture:
    return Mixture(
        {
            "english": CurveFunction([0, 1], [0.7, 0.2], Cosine()),
            "parallel": CurveFunction([0, 0.5, 1], [0.1, 0.1, 0.05], Linear()),
            "instruction": CurveFunction([0, 0.8], [0.0, 0.15], Linear()),
            "chinese": None,
        },
        {
            "english": {"slimpajama": 0.6, "refinedweb": 0.4},
            "parallel": {"translation": 1.0},
            "instruction": {"belle": 0.5, "alpaca": 0.1, "firefly": 0.4},
            "chinese": {"wiki": 0.3, "news": 0.3, "webtext": 0.2, "csl": 0.1, "a": 0.05, "b": 0.05},
        },
        num_rows=num_rows,
    )


def check_bound(mixture: Mixture, order: list[str], from_row: int = 0) -> None:
    """Every prefix of a phase that begins at `from_row` is within the bound, per source."""
    rows = np.arange(from_row + 1, from_row + len(order) + 1)
    planned = mixture.integral(rows) - mixture.integral([from_row])
    whole = mixture.integral([mixture.num_rows]) - mixture.integral([from_row])
    active = int(np.count_nonzero(whole > 1e-6))
    worst = np.abs(counts_by_prefix(mixture, order) - planned).max()
    assert worst <= drift_bound(active) + EXACT


@settings(max_examples=300, deadline=None)
@given(mixtures())
def test_every_prefix_is_within_the_bound(mixture: Mixture) -> None:
    order = schedule(Phase(0, mixture))
    assert len(order) == mixture.num_rows
    check_bound(mixture, order)


@settings(max_examples=40, deadline=None)
@given(mixtures(max_rows=80))
def test_a_schedule_goes_on_identically_from_every_row(mixture: Mixture) -> None:
    phases = [Phase(0, mixture)]
    order = schedule(*phases)
    running = Apportioner(phases)
    for row in range(mixture.num_rows + 1):
        assert running.next_row == row
        assert list(Apportioner(phases, running.counts, row)) == order[row:]
        next(running, None)


def test_a_schedule_goes_on_identically_around_the_borders_of_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also the same whatever the chunk, so nothing depends on how far ahead is looked."""
    phases = [Phase(0, linly_mixture(300))]
    whole = schedule(*phases)
    for chunk_rows in (3, 64, 299):
        monkeypatch.setattr(deadlines, "CHUNK_ROWS", chunk_rows)
        assert schedule(*phases) == whole
        for row in (0, 2, 3, 4, 63, 64, 65, 299, 300):
            counts = Counter(whole[:row])
            assert list(Apportioner(phases, counts, row)) == whole[row:]


@settings(max_examples=60, deadline=None)
@given(mixtures(max_rows=150), st.integers(1, 12), st.data())
def test_skipped_rows_are_counted_as_if_scheduled(
    mixture: Mixture, chunk_rows: int, data: st.DataObject
) -> None:
    phases = [Phase(0, mixture)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadlines, "CHUNK_ROWS", chunk_rows)
        order = schedule(*phases)
        for _ in range(4):
            start = data.draw(st.integers(0, mixture.num_rows))
            stop = data.draw(st.integers(start, mixture.num_rows))
            running = Apportioner(phases, Counter(order[:start]), start)
            made = running.advance(stop - start)
            assert Counter(made) == Counter(order[start:stop])
            assert list(running) == order[stop:]


def test_rows_are_counted_without_scheduling_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where sources end within the run with a part of a row that is never due."""
    monkeypatch.setattr(deadlines, "CHUNK_ROWS", 64)
    planned = 0
    plan = deadlines.PhaseSchedule.plan

    def counting(self: deadlines.PhaseSchedule, row: int, counts: list[int]) -> list[int]:
        nonlocal planned
        found = plan(self, row, counts)
        planned += len(found)
        return found

    ended = Mixture(
        {
            "a": CurveFunction([0, 0.3], [0.5, 0.0], Step()),
            "b": CurveFunction([0, 0.6], [0.2, 0.0], Linear()),
            "c": None,
        },
        {"a": {"a1": 0.3, "a2": 0.7}, "b": {"b": 1.0}, "c": {"c1": 0.37, "c2": 0.63}},
        num_rows=40_003,
    )
    for mixture in (linly_mixture(40_003), ended):
        expected = Counter(schedule(Phase(0, mixture)))
        monkeypatch.setattr(deadlines.PhaseSchedule, "plan", counting)
        assert Counter(row_counts([Phase(0, mixture)])) == expected
        monkeypatch.undo()
        monkeypatch.setattr(deadlines, "CHUNK_ROWS", 64)
    assert 0 < planned < 5_000


@settings(max_examples=100, deadline=None)
@given(mixtures(max_sources=8, max_rows=120), mixtures(max_sources=8, max_rows=200), st.data())
def test_phases_restart_the_count(first: Mixture, second: Mixture, data: st.DataObject) -> None:
    latest = min(first.num_rows, second.num_rows - 1)
    if latest < 1:
        return
    from_row = data.draw(st.integers(1, latest))
    phases = [Phase(0, first), Phase(from_row, second)]
    order = schedule(*phases)
    assert len(order) == second.num_rows
    assert order[:from_row] == schedule(Phase(0, first))[:from_row]
    check_bound(first, order[:from_row])
    check_bound(second, order[from_row:], from_row)
    row = data.draw(st.integers(from_row, second.num_rows))
    counts = Counter(order[from_row:row])
    assert list(Apportioner(phases, counts, row)) == order[row:]


def test_counts_at_a_phase_s_first_row_are_zero_again() -> None:
    mixture = single_group({"a": 0.5, "b": 0.5}, 20)
    phases = [Phase(0, mixture), Phase(10, mixture)]
    running = Apportioner(phases)
    list(islice(running, 10))
    assert running.counts == {"a": 0, "b": 0}
    assert list(Apportioner(phases, running.counts, 10)) == list(running)


def test_a_share_of_zero_throughout_never_emits_and_does_not_widen_the_bound() -> None:
    mixture = single_group({"a": 0.5, "b": 0.5, "never": 0.0}, 1000)
    order = schedule(Phase(0, mixture))
    assert set(order) == {"a", "b"}
    planned = mixture.integral(np.arange(1, 1001))
    assert np.abs(counts_by_prefix(mixture, order) - planned).max() <= drift_bound(2) + EXACT


def test_a_share_of_zero_in_the_rest_of_the_curve_never_emits_in_an_amended_phase() -> None:
    ratio = CurveFunction([0, 0.5], [0.5, 0.0], Step())
    mixture = Mixture({"a": ratio, "b": None}, {"a": {"a": 1.0}, "b": {"b": 1.0}}, num_rows=100)
    order = schedule(Phase(0, mixture), Phase(50, mixture))
    assert set(order[50:]) == {"b"}


@pytest.mark.parametrize("num_rows", [97, 100, 301])
def test_a_share_that_falls_to_zero_emits_at_most_once_more(num_rows: int) -> None:
    ratio = CurveFunction([0, 0.4], [0.3, 0.0], Linear())
    mixture = Mixture(
        {"a": ratio, "b": None},
        {"a": {"a": 1.0}, "b": {"b": 0.5, "c": 0.2, "d": 0.3}},
        num_rows=num_rows,
    )
    order = schedule(Phase(0, mixture))
    after = order[int(0.4 * num_rows) + 1 :]
    assert after.count("a") <= 1


def test_a_tiny_share_does_emit() -> None:
    mixture = single_group({"big": 1 - 2e-5, "tiny": 2e-5}, 200_000)
    assert row_counts([Phase(0, mixture)]) == {"big": 199_996, "tiny": 4}


def test_one_source_makes_every_row() -> None:
    mixture = single_group({"only": 1.0, "never": 0.0}, 50)
    assert schedule(Phase(0, mixture)) == ["only"] * 50


def test_ties_go_by_due_row_then_by_name() -> None:
    """Two halves are due in turn; of equals the first by name goes first."""
    assert schedule(Phase(0, single_group({"b": 0.5, "a": 0.5}, 6))) == [*"ababab"]
    assert schedule(Phase(0, single_group({"c": 0.25, "b": 0.25, "a": 0.5}, 8))) == [*"abacabac"]


def test_a_frozen_order() -> None:
    """The rows of runs in progress depend on it: a change needs a new order version."""
    mixture = linly_mixture(60)
    digits = "".join(f"{mixture.sources.index(name):x}" for name in schedule(Phase(0, mixture)))
    assert digits == "8787896878b78987a8678b987384768ab587968ba7306b82946ab5813024"


def test_advance_counts_what_iterating_would_give() -> None:
    phases = [Phase(0, linly_mixture(40_000)), Phase(25_000, linly_mixture(50_000))]
    order = schedule(*phases)
    skipping = Apportioner(phases)
    row = 0
    for step in (1, 16_383, 3, 8_000, 20_000):
        expected = Counter(order[row : row + step])
        made = skipping.advance(step)
        assert {name: count for name, count in made.items() if count} == expected
        row += step
        assert skipping.next_row == row
    assert list(skipping) == order[row:]
    assert row_counts(phases) == Counter(order)
    assert row_counts(phases, 1000) == {
        name: order[:1000].count(name) for name in phases[0].mixture.sources
    }


def test_late_phases_do_not_change_the_past() -> None:
    """How many sources count is decided by the phase's own curves, to their end."""
    late = CurveFunction([0, 0.9], [0.0, 0.5], Step())
    mixture = Mixture(
        {"late": late, "rest": None},
        {"late": {"x": 1.0}, "rest": {"a": 0.7, "b": 0.3}},
        num_rows=200,
    )
    whole = schedule(Phase(0, mixture))
    amended = schedule(Phase(0, mixture), Phase(100, single_group({"z": 1.0}, 200)))
    assert amended[:100] == whole[:100]


def test_counts_of_another_curriculum_are_refused() -> None:
    phases = [Phase(0, single_group({"a": 0.5, "b": 0.5}, 100))]
    with pytest.raises(ConfigError, match="another curriculum"):
        Apportioner(phases, {"a": 30, "b": 10}, 40)
    with pytest.raises(ConfigError, match="40 rows came before"):
        Apportioner(phases, {"a": 20, "b": 10}, 40)
    with pytest.raises(ConfigError, match="40 rows came before"):
        Apportioner(phases, {"a": 20, "b": 10, "c": 10}, 40)


@pytest.mark.parametrize("starts", [(), (5,), (0, 0), (0, 30, 20), (0, 150), (0, 100)])
def test_phases_that_do_not_fit_are_refused(starts: tuple[int, ...]) -> None:
    mixture = single_group({"a": 1.0}, 100)
    with pytest.raises(ConfigError):
        Apportioner([Phase(start, mixture) for start in starts])


def test_phases_are_values() -> None:
    phase = Phase(0, single_group({"a": 1.0}, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        phase.from_row = 3  # type: ignore[misc]
