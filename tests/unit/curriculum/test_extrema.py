"""Extremes of sums of curves: found exactly, also where samples miss them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.shapes import CURVES
from linly.curriculum.curves import CurveFunction
from linly.curriculum.extrema import extremes
from tests.support.mixture_strategies import curve, curves


@settings(max_examples=60, deadline=None)
@given(st.lists(curves(), min_size=1, max_size=4))
def test_no_sample_lies_beyond_the_extremes(functions: list[CurveFunction]) -> None:
    lowest, highest = extremes(functions)
    u = np.linspace(0, 1, 4001)[:-1]
    total = sum(function.value(u) for function in functions)
    assert float(np.max(total)) <= highest.value + 1e-9
    assert float(np.min(total)) >= lowest.value - 1e-9
    assert sum(highest.parts) == pytest.approx(highest.value, abs=1e-9)


def test_pieces_of_a_curve_meet_exactly_wherever_its_points_lie() -> None:
    """Also where start + length is rounded to less than the next start."""
    for first in range(100):
        for second in range(first + 1, 100):
            step = curve("step", [first / 100, second / 100], [1.0, 0.0])
            pieces = step.stretches()
            assert all(a.end == b.start for a, b in pairwise(pieces))
            assert extremes([step])[0].value == 0.0


def test_peak_of_a_cosine_and_a_line_is_where_calculus_says() -> None:
    functions = [curve("cosine", [0, 1], [0.7, 0.2]), curve("linear", [0, 1], [0.1, 0.4])]
    _, highest = extremes(functions)
    # d/du: 0.3 = 0.25 pi sin(pi u)
    peak = math.asin(0.3 / (0.25 * math.pi)) / math.pi
    value = 0.2 + 0.25 * (1 + math.cos(math.pi * peak)) + 0.1 + 0.3 * peak
    assert highest.position == pytest.approx(peak, abs=1e-4)
    assert highest.value == pytest.approx(value, abs=1e-10)


def test_a_peak_far_narrower_than_any_sampling_grid_is_found() -> None:
    spike = curve("linear", [0, 0.300001, 0.300002, 0.300003, 1], [0, 0, 0.5, 0, 0])
    _, highest = extremes([curve("cosine", [0, 1], [0.6, 0.6]), spike])
    assert highest.value == pytest.approx(1.1)
    assert highest.position == pytest.approx(0.300002)


@pytest.mark.parametrize("kind", sorted(CURVES))
def test_curves_that_mirror_each_other_cancel_exactly(kind: str) -> None:
    down = curve(kind, [0, 1], [0.7, 0.2])
    up = curve(kind, [0, 1], [0.3, 0.8])
    lowest, highest = extremes([down, up])
    assert lowest.value == pytest.approx(1.0, abs=1e-12)
    assert highest.value == pytest.approx(1.0, abs=1e-12)


def test_the_limit_before_a_jump_counts() -> None:
    line = curve("linear", [0, 0.5, 1], [0.2, 0.8, 0.2])
    jump = curve("step", [0, 0.5], [0.3, 0.1])
    _, highest = extremes([line, jump])
    assert highest.position == 0.5
    assert highest.value == pytest.approx(1.1)
    assert highest.parts == pytest.approx((0.8, 0.3))
