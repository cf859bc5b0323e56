"""Drift is counted after every row, from the start of its phase."""

from __future__ import annotations

import numpy as np

from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.deadlines import drift_bound
from linly.curriculum.drift import count_rows
from linly.curriculum.mixture import Mixture

MIXTURE = Mixture({"all": None}, {"all": {"a": 0.75, "b": 0.25}}, num_rows=100)


def test_drift_is_rows_minus_integral_since_the_phase_began() -> None:
    counted = count_rows(
        Phase(10, MIXTURE),
        ["a", "a", "b"],
        first_row=12,
        made={"a": 9, "b": 3},
        made_before_phase={"a": 8, "b": 2},
    )
    np.testing.assert_allclose(counted.made, [[10, 3], [11, 3], [11, 4]])
    np.testing.assert_allclose(counted.planned[-1], [8 + 5 * 0.75, 2 + 5 * 0.25])
    np.testing.assert_allclose(counted.drift[-1], [11 - 11.75, 4 - 3.25])


def test_rows_counted_in_parts_drift_as_in_one() -> None:
    order = list(Apportioner([Phase(0, MIXTURE)]))
    whole = count_rows(Phase(0, MIXTURE), order, first_row=0, made={}, made_before_phase={})
    made = {name: order[:40].count(name) for name in ("a", "b")}
    rest = count_rows(Phase(0, MIXTURE), order[40:], first_row=40, made=made, made_before_phase={})
    np.testing.assert_array_equal(rest.drift, whole.drift[40:])
    assert np.abs(whole.drift).max() <= drift_bound(2) + 1e-5
