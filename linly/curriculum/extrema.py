"""Highest and lowest value of a sum of curves, found by bounds instead of samples.

A sum of two cosines and a sigmoid has no closed form for its peak, and a sample can miss a narrow
one. Between neighbouring points of all curves the sum is smooth, so on a stretch of width w it
exceeds the higher of its ends by at most max|f''| w^2 / 8. Only the stretches that could still
contain a new extreme are halved, until none can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linly.config.shapes import Floats, Shape
from linly.curriculum.curves import CurveFunction, Stretch

PRECISION = 1e-10
"""Largest difference between the true extreme and the one returned."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """A value of the sum, its position in the run, and the value of each curve there.

    At a jump it may be the limit from the left.
    """

    position: float
    value: float
    parts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Term:
    """A varying part of the sum; the same part of several curves is one term, so they cancel."""

    shape: Shape
    start: float
    end: float
    height: float


@dataclass(frozen=True, slots=True)
class _SmoothSum:
    """Sum of all curves on one stretch without points: a level and the terms that vary."""

    start: float
    end: float
    level: float
    terms: tuple[_Term, ...]

    def value(self, u: Floats) -> Floats:
        """Sum at u [n]."""
        total: Floats = np.full_like(u, self.level)
        for term in self.terms:
            t = np.clip((u - term.start) / (term.end - term.start), 0.0, 1.0)
            total = total + term.height * term.shape.rise(t)
        return total

    def bend(self, start: Floats, end: Floats) -> Floats:
        """Upper bound of |second derivative| over each [start, end]."""
        total = np.zeros_like(start)
        for term in self.terms:
            length = term.end - term.start
            low = np.clip((start - term.start) / length, 0.0, 1.0)
            high = np.clip((end - term.start) / length, 0.0, 1.0)
            total = total + abs(term.height) / (length * length) * term.shape.bend(low, high)
        return total


def extremes(functions: Sequence[CurveFunction]) -> tuple[Extreme, Extreme]:
    """Lowest and highest value of the sum of `functions` over the run.

    The last row begins before position 1, so a jump exactly there is not counted.
    """
    pieces = [function.stretches() for function in functions]
    borders = {min(stretch.end, 1.0) for stretches in pieces for stretch in stretches}
    edges = sorted(borders | {0.0})
    lows: list[Extreme] = []
    highs: list[Extreme] = []
    for start, end in pairwise(edges):
        here = [next(s for s in reversed(row) if s.start <= start) for row in pieces]
        smooth = _smooth_sum(here, start, end)
        for sign, found in ((-1.0, lows), (1.0, highs)):
            position, value = _highest(smooth, sign=sign)
            parts = tuple(stretch.value(position) for stretch in here)
            found.append(Extreme(position, sign * value, parts))
    lowest = min(lows, key=lambda extreme: extreme.value)
    return lowest, max(highs, key=lambda extreme: extreme.value)


def _smooth_sum(stretches: Sequence[Stretch], start: float, end: float) -> _SmoothSum:
    """Sum the pieces of all curves on [start, end]."""
    level = sum(stretch.base for stretch in stretches)
    heights: dict[tuple[Shape, float, float], float] = defaultdict(float)
    for stretch in stretches:
        heights[stretch.shape, stretch.start, stretch.end] += stretch.height
    terms = tuple(
        _Term(shape, low, high, height)
        for (shape, low, high), height in heights.items()
        if abs(height) > 1e-15
    )
    return _SmoothSum(start, end, level, terms)


def _highest(smooth: _SmoothSum, *, sign: float) -> tuple[float, float]:
    """Position and value of the highest sign * sum on the stretch, by branch and bound."""
    low, high = np.array([smooth.start]), np.array([smooth.end])
    at_low, at_high = sign * smooth.value(low), sign * smooth.value(high)
    if at_low[0] >= at_high[0]:
        position, value = smooth.start, float(at_low[0])
    else:
        position, value = smooth.end, float(at_high[0])
    while True:
        reach = smooth.bend(low, high) * (high - low) ** 2 / 8.0
        hopeful = np.maximum(at_low, at_high) + reach > value + PRECISION
        if not hopeful.any():
            return position, value
        low, high, at_low, at_high = low[hopeful], high[hopeful], at_low[hopeful], at_high[hopeful]
        middle = 0.5 * (low + high)
        at_middle = sign * smooth.value(middle)
        top = int(np.argmax(at_middle))
        if at_middle[top] > value:
            position, value = float(middle[top]), float(at_middle[top])
        low, high = np.concatenate((low, middle)), np.concatenate((middle, high))
        at_low = np.concatenate((at_low, at_middle))
        at_high = np.concatenate((at_middle, at_high))
