"""A guarded ratio: a curve raised stepwise towards a cap while a held-out metric worsens."""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np

from linly.config.shapes import Floats
from linly.curriculum.curves import CurveFunction, Stretch


class Ratio(Protocol):
    """One ratio over the run, at positions u from 0 to 1."""

    def value(self, u: Floats) -> Floats:
        """Ratio at each u."""

    def integral(self, u: Floats) -> Floats:
        """Integral of the ratio from 0 to each u, in closed form."""


class RaisedCurve:
    """A curve that is lifted part of the way to a cap wherever it is below the cap.

    `curve + part * max(cap - curve, 0)`: the plain curve at part 0, the higher of curve and cap at
    part 1. The curve is monotone between its points, so each stretch is cut at most once, and the
    integral stays in closed form.
    """

    def __init__(self, curve: CurveFunction, cap: float, part: float) -> None:
        """Lift `curve` by the fraction `part`, from 0 to 1, of its distance to `cap`."""
        assert curve.is_monotone
        self._curve = curve
        self._cap = cap
        self._part = part
        edges = [0.0]
        for stretch in curve.stretches():
            crossing = _crossing(stretch, cap)
            edges += [edge for edge in (crossing, min(stretch.end, 1.0)) if edge is not None]
        middles = np.array([(before + after) / 2 for before, after in pairwise(edges)])
        self._edges: Floats = np.array(edges)
        self._is_below: Floats = (curve.value(middles) < cap).astype(np.float64)
        lacking = self._is_below * self._lack(self._edges[:-1], self._edges[1:])
        self._lacking: Floats = np.concatenate((np.zeros(1), np.cumsum(lacking)))

    def value(self, u: Floats) -> Floats:
        """Ratio at u."""
        plain = self._curve.value(u)
        raised: Floats = plain + self._part * np.maximum(self._cap - plain, 0.0)
        return raised

    def integral(self, u: Floats) -> Floats:
        """Integral of the ratio from 0 to u."""
        index = np.searchsorted(self._edges[:-1], u, side="right") - 1
        here = self._is_below[index] * self._lack(self._edges[index], u)
        total: Floats = self._curve.integral(u) + self._part * (self._lacking[index] + here)
        return total

    def _lack(self, start: Floats, end: Floats) -> Floats:
        """Area between the curve and the cap."""
        area: Floats = self._cap * (end - start)
        return area - (self._curve.integral(end) - self._curve.integral(start))


def _crossing(stretch: Stretch, cap: float) -> float | None:
    """Position in a monotone stretch at which the curve crosses the cap; None if it does not.

    Bisection continues until no number is between, so the result does not depend on a tolerance.
    """
    low, high = stretch.start, min(stretch.end, 1.0)
    rises = stretch.value(high) > stretch.value(low)
    if (
        not min(stretch.value(low), stretch.value(high))
        < cap
        < max(stretch.value(low), stretch.value(high))
    ):
        return None
    while low < (middle := (low + high) / 2) < high:
        if (stretch.value(middle) < cap) == rises:
            low = middle
        else:
            high = middle
    return high
