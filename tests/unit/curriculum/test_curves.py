"""Curves: the formulas of the documentation, their ends, and integrals against quadrature."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.curve import Curve
from linly.config.shapes import Linear
from linly.config.yaml.run_position import Position
from linly.curriculum.curves import CurveFunction
from linly.errors import ConfigError
from tests.support.mixture_strategies import curve, curves


@pytest.mark.parametrize("u", [0.0, 0.1, 0.37, 0.5, 0.99, 1.0])
def test_cosine_is_the_documented_formula(u: float) -> None:
    expected = 0.2 + (0.7 - 0.2) * (1 + math.cos(math.pi * u)) / 2
    assert curve("cosine", [0, 1], [0.7, 0.2]).value(u) == pytest.approx(expected, abs=1e-15)


def test_linear_from_to_until_is_held_after_until() -> None:
    ratio = curve("linear", [0, 0.8], [0.0, 0.15])
    assert ratio.value(0.4) == pytest.approx(0.075)
    assert ratio.value(0.8) == ratio.value(0.9) == ratio.value(1.0) == 0.15
    assert ratio.integral(1.0) == pytest.approx(0.8 * 0.075 + 0.2 * 0.15)


def test_value_before_the_first_point_is_held() -> None:
    ratio = curve("cosine", [0.5, 1], [0.3, 0.1])
    assert ratio.value(0.0) == ratio.value(0.25) == 0.3
    assert ratio.integral(0.5) == pytest.approx(0.15)


def test_step_is_right_continuous() -> None:
    ratio = curve("step", [0, 0.25, 1.0], [0.1, 0.6, 0.9])
    assert ratio.value(0.25 - 1e-12) == 0.1
    assert ratio.value(0.25) == 0.6
    assert ratio.value(1.0) == 0.9
    assert ratio.integral(0.5) == pytest.approx(0.25 * 0.1 + 0.25 * 0.6)


@pytest.mark.parametrize("steepness", [0.001, 0.01, 0.999, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("midpoint", [0.05, 0.5, 0.95])
def test_sigmoid_hits_both_ends(midpoint: float, steepness: float) -> None:
    ratio = curve("sigmoid", [0, 1], [0.7, 0.2], midpoint=midpoint, steepness=steepness)
    assert ratio.value(0.0) == 0.7
    assert ratio.value(1.0) == pytest.approx(0.2, abs=1e-15)


def test_sigmoid_is_the_rescaled_logistic() -> None:
    def logistic(t: float) -> float:
        return 1 / (1 + math.exp(-10 * (t - 0.5)))

    ratio = curve("sigmoid", [0, 1], [0.0, 1.0])
    for u in (0.1, 0.3, 0.5, 0.8):
        expected = (logistic(u) - logistic(0)) / (logistic(1) - logistic(0))
        assert ratio.value(u) == pytest.approx(expected, rel=1e-13)
    assert ratio.value(0.5) == pytest.approx(0.5, abs=1e-15)


def test_nearly_flat_sigmoid_is_a_straight_line() -> None:
    ratio = curve("sigmoid", [0, 1], [0.0, 1.0], steepness=0.001)
    assert ratio.value(0.3) == pytest.approx(0.3, abs=1e-8)
    assert ratio.integral(1.0) == pytest.approx(0.5, abs=1e-8)


@pytest.mark.parametrize("midpoint", [0.2, 0.5, 0.9])
def test_sigmoid_integral_has_no_seam_where_its_method_changes(midpoint: float) -> None:
    u = np.linspace(0, 1, 50)
    below = curve("sigmoid", [0, 1], [0, 1], midpoint=midpoint, steepness=1.0 - 1e-12).integral(u)
    above = curve("sigmoid", [0, 1], [0, 1], midpoint=midpoint, steepness=1.0).integral(u)
    np.testing.assert_allclose(below, above, atol=2e-13)


@settings(deadline=None)
@given(curves(), st.integers(0, 1000))
def test_integral_equals_quadrature(ratio: CurveFunction, thousandth: int) -> None:
    u = thousandth / 1000
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    edges = sorted({0.0, u, *(s.start for s in ratio.stretches() if s.start < u)})
    for low, high in pairwise(edges):
        cuts = np.linspace(low, high, 41)  # steep sigmoids need short panels
        for a, b in pairwise(cuts):
            at = a + (b - a) * (1 + nodes) / 2
            total += (b - a) / 2 * float(ratio.value(at) @ weights)
    assert ratio.integral(u) == pytest.approx(total, abs=1e-12)


@settings(deadline=None)
@given(curves())
def test_arrays_give_what_single_positions_give(ratio: CurveFunction) -> None:
    u = np.linspace(0, 1, 17)
    assert ratio.value(u).tolist() == [ratio.value(float(at)) for at in u]
    np.testing.assert_allclose(
        ratio.integral(u), [ratio.integral(float(at)) for at in u], rtol=1e-15
    )


@settings(deadline=None)
@given(curves())
def test_value_stays_between_its_points(ratio: CurveFunction) -> None:
    values = ratio.value(np.linspace(0, 1, 501))
    assert values.min() >= -1e-15
    assert values.max() <= 1 + 1e-15


def test_integral_is_level_where_the_ratio_is_zero() -> None:
    ratio = curve("cosine", [0, 0.5], [0.3, 0.0])
    assert len(set(ratio.integral(np.linspace(0.5, 1, 999)).tolist())) == 1


def test_points_in_tokens_are_placed_in_the_run() -> None:
    points = ((Position(0.0, "fraction"), 0.2), (Position(2e9, "tokens"), 0.4))
    ratio = CurveFunction.from_curve(Curve(shape=Linear(), points=points), 4_000_000_000)
    assert ratio.value(0.5) == 0.4
    assert ratio.value(0.25) == pytest.approx(0.3)


def test_a_point_past_the_end_of_a_shortened_run_cuts_the_curve() -> None:
    ratio = curve("linear", [0, 2.0], [0.0, 0.8])
    assert ratio.value(1.0) == pytest.approx(0.4)
    assert ratio.integral(1.0) == pytest.approx(0.2)


def test_positions_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"found 20.0000% of the run after 50.0000%"):
        curve("linear", [0, 0.5, 0.2], [0.1, 0.2, 0.3])
