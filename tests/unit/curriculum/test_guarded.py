"""A guarded ratio: what raising it means, its integral, and rows that keep to it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.curriculum import Curriculum
from linly.config.shapes import Floats
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.curriculum.apportion import Phase
from linly.curriculum.curves import CurveFunction
from linly.curriculum.deadlines import UNITS, drift_bound
from linly.curriculum.guarded import RaisedCurve, Ratio
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError
from tests.support.mixture_strategies import counts_by_prefix, curve, curves, schedule

TEXT = """
tokens: 100M
mixture:
  english:
    ratio: {curve: KIND, from: 70%, to: 20%, guard: {source: english, max_rise: 3%, cap: 60%}}
    sources: {web: 60%, books: 40%}
  parallel: {ratio: 10%, sources: {pairs: 100%}}
  chinese: {ratio: rest, sources: {wiki: 100%}}
"""


def read(text: str) -> Curriculum:
    return validate(Curriculum, parse_yaml(text, Origin("c.yaml", 1, Path("/"))), name="c")


@pytest.mark.parametrize("kind", ["linear", "cosine", "sigmoid"])
def test_a_level_is_a_step_of_the_way_from_the_curve_to_the_cap(kind: str) -> None:
    curriculum = read(TEXT.replace("KIND", kind))
    u = np.linspace(0, 1, 101)
    plain = Mixture.from_curriculum(curriculum, num_rows=100).shares(u * 100)
    english, rest = plain[:, [0, 2]].sum(axis=1), plain[:, 3]
    for level in range(5):
        mixture = Mixture.from_curriculum(curriculum, num_rows=100, levels={"english": level})
        shares = mixture.shares(u * 100)
        wanted = np.where(english < 0.6, english + (0.6 - english) * level / 4, english)
        np.testing.assert_allclose(shares[:, [0, 2]].sum(axis=1), wanted, atol=1e-15)
        np.testing.assert_allclose(shares[:, 0] * 60, shares[:, 2] * 40, atol=1e-13)
        np.testing.assert_array_equal(shares[:, 1], plain[:, 1])
        np.testing.assert_allclose(shares[:, 3], rest - (wanted - english), atol=1e-15)


def test_level_zero_is_the_plain_curve_to_the_last_bit() -> None:
    guarded = read(TEXT.replace("KIND", "cosine"))
    plain = read(
        TEXT.replace("KIND", "cosine").replace(
            ", guard: {source: english, max_rise: 3%, cap: 60%}", ""
        )
    )
    rows = np.arange(1001)
    one, two = (Mixture.from_curriculum(c, num_rows=1000).integral(rows) for c in (guarded, plain))
    assert np.array_equal(one, two)


@settings(deadline=None)
@given(curves(), st.floats(0, 1), st.sampled_from((0.25, 0.5, 1.0)), st.integers(0, 1000))
def test_the_integral_equals_quadrature(
    plain: CurveFunction, cap: float, part: float, thousandth: int
) -> None:
    u = thousandth / 1000
    ratio = RaisedCurve(plain, cap, part)
    edges = sorted({0.0, u, *(s.start for s in plain.stretches() if s.start < u)})
    total = sum(
        _area(ratio, plain, cap, a, b)
        for low, high in pairwise(edges)
        for a, b in pairwise(np.linspace(low, high, 41).tolist())
    )
    assert ratio.integral(np.array([u]))[0] == pytest.approx(total, abs=1e-12)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


def _area(ratio: Ratio, plain: CurveFunction, cap: float, low: float, high: float) -> float:
    """By Gauss's rule; a panel with the kink, where the curve crosses the cap, is halved."""
    middle = (low + high) / 2
    # Just within the panel: at its end a step has its next value already.
    inside = plain.value(np.array([low, low + (high - low) * (1 - 1e-12)]))
    if low < middle < high and high - low > 1e-14 and (inside[0] < cap) != (inside[1] < cap):
        return _area(ratio, plain, cap, low, middle) + _area(ratio, plain, cap, middle, high)
    at = low + (high - low) * (1 + _NODES) / 2
    return (high - low) / 2 * float(ratio.value(at) @ _WEIGHTS)


@settings(deadline=None)
@given(curves(), st.floats(0, 1))
def test_the_integral_never_falls_and_ends_between_curve_and_cap(
    plain: CurveFunction, cap: float
) -> None:
    u = np.linspace(0, 1, 401)
    for part in (0.25, 1.0):
        integral = RaisedCurve(plain, cap, part).integral(u)
        assert integral[0] == 0.0
        assert np.all(np.diff(integral) >= -1e-15)
        assert integral[-1] >= plain.integral(1.0) - 1e-15
        assert integral[-1] <= plain.integral(1.0) + part * cap + 1e-15


def test_a_curve_that_crosses_its_cap_twice_is_raised_where_it_is_below() -> None:
    plain = curve("linear", [0.0, 0.5, 1.0], [0.2, 0.8, 0.2])
    raised = RaisedCurve(plain, 0.5, 1.0)
    u = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(raised.value(u), [0.5, 0.5, 0.8, 0.5, 0.5])
    np.testing.assert_allclose(raised.integral(u), [0.0, 0.125, 0.2875, 0.45, 0.575])


GROUPS = st.sampled_from(("english", "parallel"))
PERCENTS = st.integers(0, 45)


@st.composite
def decisions(draw: st.DrawFn) -> list[Phase]:
    """A run whose guards raised and lowered two groups at random rows."""
    kinds = st.sampled_from(("linear", "cosine", "sigmoid", "step"))
    guards = []
    for group in ("english", "parallel"):
        first, last = draw(PERCENTS), draw(PERCENTS)
        cap = draw(st.integers(min(first, last) + 1, 50))
        points = f"{{0%: {first}%, {draw(st.integers(1, 99))}%: {last}%}}"
        steps = draw(st.integers(1, 4))
        guards.append(
            f"  {group}:\n"
            f"    ratio: {{curve: {draw(kinds)}, points: {points}, guard: {{source: {group}, "
            f"max_rise: 1%, cap: {cap}%, steps: {steps}}}}}\n"
            f"    sources: {{{group}-a: 90%, {group}-b: 10%}}\n"
        )
    text = "tokens: 1M\nmixture:\n" + "".join(guards)
    curriculum = read(text + "  chinese: {ratio: rest, sources: {wiki: 99%, rare: 1%}}\n")
    num_rows = draw(st.integers(2, 300))
    starts = draw(st.sets(st.integers(1, num_rows - 1), max_size=6))
    levels = dict.fromkeys(curriculum.guards, 0)
    phases = [Phase(0, Mixture.from_curriculum(curriculum, num_rows=num_rows))]
    for from_row in sorted(starts):
        group = draw(GROUPS)
        levels[group] = draw(st.integers(0, curriculum.guards[group].steps))
        mixture = Mixture.from_curriculum(curriculum, num_rows=num_rows, levels=levels)
        phases.append(Phase(from_row, mixture))
    return phases


@settings(max_examples=100, deadline=None)
@given(decisions())
def test_rows_stay_within_the_bound_whatever_is_decided(phases: list[Phase]) -> None:
    order = schedule(*phases)
    ends = [*(phase.from_row for phase in phases[1:]), len(order)]
    assert len(order) == phases[0].mixture.num_rows
    for phase, end in zip(phases, ends, strict=True):
        start, mixture = phase.from_row, phase.mixture
        planned = mixture.integral(np.arange(start + 1, end + 1)) - mixture.integral([start])
        np.testing.assert_allclose(planned.sum(axis=1), np.arange(1, end - start + 1), atol=1e-9)
        drift = np.abs(counts_by_prefix(mixture, order[start:end]) - planned)
        assert drift.max() <= drift_bound(_num_active(mixture, start)) + 2.0 / UNITS


def _num_active(mixture: Mixture, start: int) -> int:
    whole: Floats = mixture.integral([mixture.num_rows]) - mixture.integral([start])
    return int(np.count_nonzero(whole > 1e-6))


def test_a_cap_that_leaves_no_room_is_refused_with_the_place() -> None:
    """The curves add up everywhere; with the guard at its cap they do not at the end."""
    text = TEXT.replace("KIND", "linear").replace(
        "{ratio: 10%,", "{ratio: {curve: linear, from: 10%, to: 55%},"
    )
    with pytest.raises(ConfigError) as caught:
        Mixture.from_curriculum(read(text), num_rows=1000)
    assert str(caught.value) == (
        "curriculum c: mixture: the ratios add up to 115% at 100% of the run (100M tokens): "
        "english 60% + parallel 55%; guards may raise english to the cap; at most 100% can be "
        "given (group chinese takes the rest): lower a cap, or a ratio there"
    )


def test_guards_that_leave_no_room_together_are_refused() -> None:
    guard = "{curve: linear, from: 10%, to: 5%, guard: {source: parallel, max_rise: 1%, cap: 41%}}"
    text = TEXT.replace("KIND", "linear").replace("{ratio: 10%,", f"{{ratio: {guard},")
    with pytest.raises(ConfigError, match=r"111% at 0% .*may raise parallel to the cap"):
        Mixture.from_curriculum(read(text), num_rows=1000)
    with pytest.raises(ConfigError, match=r"101% at 0% .*may raise english, parallel to"):
        Mixture.from_curriculum(read(text.replace("from: 70%", "from: 50%")), num_rows=1000)
    Mixture.from_curriculum(
        read(text.replace("from: 70%", "from: 50%").replace("41%", "40%")), num_rows=1000
    )
