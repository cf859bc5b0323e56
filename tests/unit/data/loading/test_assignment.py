"""linly.data.loading.assignment: which producer makes which source's rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from linly.config.curriculum import load_curriculum
from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.mixture import Mixture
from linly.data.loading.assignment import assign_sources

NUM_ROWS = 10_000


def mixture(path: Path, text: str) -> Mixture:
    path.write_text(text)
    return Mixture.from_curriculum(load_curriculum(path), num_rows=NUM_ROWS)


def constant(shares: dict[str, float]) -> Mixture:
    return Mixture({"all": None}, {"all": shares}, num_rows=NUM_ROWS)


def shares_over_time(mixture: Mixture, assigned: list[frozenset[str]]) -> NDArray[np.float64]:
    """What each producer has to make of the rows there: float64 [points, producers]."""
    shares = mixture.shares(np.linspace(0, NUM_ROWS, 101))
    columns = [[mixture.sources.index(name) for name in names] for names in assigned]
    return np.stack([shares[:, column].sum(axis=1) for column in columns], axis=1)


@pytest.fixture
def moving(tmp_path: Path) -> Mixture:
    text = """
        tokens: 20480000
        mixture:
          english:
            ratio: {curve: linear, from: 90%, to: 10%}
            sources: {slim: {share: 50%}, refined: {share: 50%}}
          chinese:
            ratio: rest
            sources: {wiki: {share: 50%}, news: {share: 50%}}
        """
    return mixture(tmp_path / "moving.yaml", text)


def test_each_producer_has_half_of_both_languages_while_the_mixture_moves(moving: Mixture) -> None:
    assigned = assign_sources([Phase(0, moving)], 0, 2)
    assert [names & {"slim", "refined"} for names in assigned] != [{"slim", "refined"}, set()]
    assert np.allclose(shares_over_time(moving, assigned), 0.5)


def test_the_rest_of_the_run_is_what_is_assigned(tmp_path: Path) -> None:
    text = """
        tokens: 20480000
        mixture:
          early:
            ratio: {curve: linear, from: 100%, to: 0%, until: 50%}
            sources: {a: {share: 60%}, b: {share: 40%}}
          late:
            ratio: rest
            sources: {c: {share: 50%}, d: {share: 50%}}
        """
    run = mixture(tmp_path / "run.yaml", text)
    (one, other) = assign_sources([Phase(0, run)], 6000, 4)
    assert {one & {"c", "d"}, other & {"c", "d"}} == {frozenset("c"), frozenset("d")}
    assert one | other == {"a", "b", "c", "d"}
    assert assign_sources([Phase(0, run)], NUM_ROWS, 2) == []


def test_a_source_that_is_owed_a_row_when_its_share_is_gone_is_assigned_too(tmp_path: Path) -> None:
    owed = []
    for percent in range(3, 60, 7):
        text = f"""
            tokens: 20480000
            mixture:
              early:
                ratio: {{curve: linear, from: {percent}.37%, to: 0%, until: 1.03%}}
                sources: {{a: {{share: 60%}}, b: {{share: 40%}}}}
              late: {{ratio: rest, sources: {{c: {{share: 50%}}, d: {{share: 50%}}}}}}
            """
        run = mixture(tmp_path / "run.yaml", text)
        order = list(Apportioner([Phase(0, run)]))
        assert run.share("a", 104) == 0
        (at,) = assign_sources([Phase(0, run)], 104, 1)
        assert at >= set(order[104:])
        owed += [name for name in order[104:] if name in "ab"]
    assert owed


def test_a_later_phase_counts_from_its_first_row() -> None:
    before, after = constant({"a": 0.5, "b": 0.5}), constant({"b": 0.4, "c": 0.3, "d": 0.3})
    phases = [Phase(0, before), Phase(1000, after)]
    assert frozenset().union(*assign_sources(phases, 0, 2)) == {"a", "b", "c", "d"}
    assert frozenset().union(*assign_sources(phases, 1000, 2)) == {"b", "c", "d"}
    assert assign_sources(phases, 1000, 2) == [{"b"}, {"c", "d"}]


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, NUM_ROWS - 100),
)
def test_every_source_is_dealt_once_and_no_load_exceeds_the_average_by_a_source(
    weights: list[float], num_producers: int, from_row: int
) -> None:
    shares = {f"s{index:02}": weight / sum(weights) for index, weight in enumerate(weights)}
    phases = [Phase(0, constant(shares))]
    assigned = assign_sources(phases, from_row, num_producers)
    assert len(assigned) == min(num_producers, len(shares))
    assert all(assigned)
    assert sorted(name for names in assigned for name in names) == sorted(shares)
    loads = [sum(shares[name] for name in names) for names in assigned]
    assert max(loads) <= 1 / len(assigned) + max(shares.values()) + 1e-9
