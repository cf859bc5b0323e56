"""Curves between two points: the parameters and maths of each kind, behind `CURVES`.

A new kind is a subclass of `Shape` here and a line of `CURVES`. All its methods are abstract in
`Shape`, and a type checker refuses a class in `CURVES` that lacks one.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from linly.config.yaml.quantities import Fraction, Number, at_least, format_fraction
from linly.config.yaml.strict_model import Model, found, problem

Floats = NDArray[np.float64]


class Shape(Model):
    """Form of a curve between two points: s(0) = 0, s(1) = 1 (a step: s(t < 1) = 0).

    Between them 0 <= s <= 1. The fields of a shape are its keys in a curriculum file. Shapes are
    values: two stretches with equal shape and ends are the same function, up to height.
    """

    @property
    @abstractmethod
    def is_monotone(self) -> bool:
        """Whether s never falls; a guard needs that."""

    @abstractmethod
    def rise(self, t: Floats) -> Floats:
        """s(t) for t in [0, 1]."""

    @abstractmethod
    def area(self, t: Floats) -> Floats:
        """Integral of s from 0 to t, in closed form."""

    @abstractmethod
    def bend(self, start: Floats, end: Floats) -> Floats:
        """Upper bound of |s''| over each [start, end] in [0, 1]."""


class Linear(Shape):
    """s(t) = t."""

    is_monotone: ClassVar[bool] = True

    def rise(self, t: Floats) -> Floats:
        """See `Shape`."""
        return t

    def area(self, t: Floats) -> Floats:
        """See `Shape`."""
        return 0.5 * t * t

    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(start)


class Cosine(Shape):
    """s(t) = (1 - cos(pi t)) / 2: flat at both ends."""

    is_monotone: ClassVar[bool] = True

    def rise(self, t: Floats) -> Floats:
        """See `Shape`; sin^2 keeps the digits near 0 that 1 - cos would lose."""
        half: Floats = np.sin(0.5 * np.pi * t)
        return half * half

    def area(self, t: Floats) -> Floats:
        """See `Shape`."""
        return 0.5 * t - np.sin(np.pi * t) / (2.0 * np.pi)

    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`."""
        return np.full_like(start, 0.5 * np.pi * np.pi)


class Step(Shape):
    """Right-continuous: the old value before the point, the new one from the point on."""

    is_monotone: ClassVar[bool] = True

    def rise(self, t: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(t)

    def area(self, t: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(t)

    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(start)


_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(12)


def _within(midpoint: float) -> float:
    if not 0 < midpoint < 1:
        raise problem(found(format_fraction(midpoint), "more than 0% and less than 100%"))
    return midpoint


class Sigmoid(Shape):
    """A logistic curve, rescaled so that it starts at 0 and ends at 1 exactly.

    With g(t) = 1 / (1 + exp(-steepness (t - midpoint))): s(t) = (g(t) - g(0)) / (g(1) - g(0)).
    All forms below have exponents <= 0 only, so no steepness overflows.

    Attributes:
        midpoint: Position at which the logistic curve is at half height, as a fraction of the
            way between two points.
        steepness: Steepness of the logistic curve; near 0 it is a straight line.
    """

    is_monotone: ClassVar[bool] = True

    midpoint: Annotated[Fraction, AfterValidator(_within)] = 0.5
    steepness: Annotated[
        Number,
        Field(le=100),
        at_least(0.001, "a flatter curve is a straight line, which is curve: linear"),
    ] = 10.0

    def rise(self, t: Floats) -> Floats:
        """See `Shape`; a quotient of differences, written as a product without cancellation."""
        k, m = self.steepness, self.midpoint
        distance: Floats = np.abs(t - m)
        scale = float((1.0 + np.exp(-k * (1.0 - m))) / np.expm1(-k))
        growth: Floats = np.exp(k * np.minimum(t - m, 0.0)) * np.expm1(-k * t)
        result: Floats = growth / (1.0 + np.exp(-k * distance)) * scale
        return result

    def area(self, t: Floats) -> Floats:
        """See `Shape`.

        Below steepness 1 the closed form divides a difference of nearly equal numbers by k^2.
        There the curve is almost straight and Gauss's 12-point rule is exact to the last digit.
        """
        k, m = self.steepness, self.midpoint
        if k < 1.0:
            nodes = t[..., None] * (0.5 * (1.0 + _GAUSS_NODES))
            total: Floats = t * (self.rise(nodes) @ (0.5 * _GAUSS_WEIGHTS))
            return total
        first, last = _logistic(-k * m), _logistic(k * (1.0 - m))
        logistic_area = (_softplus(k * (t - m)) - _softplus(np.float64(-k * m))) / k
        area: Floats = (logistic_area - first * t) / (last - first)
        return area

    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`; |g''| <= k^2 g (1 - g) <= k^2 exp(-k |t - midpoint|)."""
        k, m = self.steepness, self.midpoint
        distance = np.maximum(np.maximum(start - m, m - end), 0.0)
        height = _logistic(k * (1.0 - m)) - _logistic(-k * m)
        bound: Floats = k * k * np.exp(-k * distance) / height
        return bound


def _logistic(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    small = float(np.exp(-abs(x)))
    return (1.0 if x >= 0 else small) / (1.0 + small)


def _softplus(x: Floats | np.float64) -> Floats:
    """log(1 + exp(x)) without overflow."""
    result: Floats = np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
    return result


CURVES: dict[str, type[Shape]] = {
    "linear": Linear,
    "cosine": Cosine,
    "step": Step,
    "sigmoid": Sigmoid,
}
"""The kinds of curve, by their name in a curriculum file."""


def kind_of(shape: Shape) -> str:
    """Return the name of a shape in a curriculum file."""
    return next(kind for kind, curve in CURVES.items() if type(shape) is curve)
