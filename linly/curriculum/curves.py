"""The curves of the YAML as functions of the position in the run, with their integrals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from linly.config.curve import Curve, CurveKind
from linly.errors import ConfigError

Floats = NDArray[np.float64]


class Shape(Protocol):
    """Form of a curve between two points: s(0) = 0, s(1) = 1 (a step: s(t < 1) = 0).

    Shapes are values: two stretches with equal shape and ends are the same function, up to height.
    """

    def rise(self, t: Floats) -> Floats:
        """s(t) for t in [0, 1]."""

    def area(self, t: Floats) -> Floats:
        """Integral of s from 0 to t, in closed form."""

    def bend(self, start: Floats, end: Floats) -> Floats:
        """Upper bound of |s''| over each [start, end] in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Linear:
    """s(t) = t."""

    def rise(self, t: Floats) -> Floats:
        """See `Shape`."""
        return t

    def area(self, t: Floats) -> Floats:
        """See `Shape`."""
        return 0.5 * t * t

    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(start)


@dataclass(frozen=True, slots=True)
class Step:
    """Right-continuous: the old value before the point, the new one from the point on."""

    def rise(self, t: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(t)

    def area(self, t: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(t)

    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`."""
        return np.zeros_like(start)


@dataclass(frozen=True, slots=True)
class Cosine:
    """s(t) = (1 - cos(pi t)) / 2: flat at both ends."""

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


_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """A logistic curve, rescaled so that it starts at 0 and ends at 1 exactly.

    With g(t) = 1 / (1 + exp(-steepness (t - midpoint))): s(t) = (g(t) - g(0)) / (g(1) - g(0)).
    All forms below have exponents <= 0 only, so no steepness overflows.

    Attributes:
        midpoint: Position at which the logistic curve is at half height, in [0, 1].
        steepness: Steepness, > 0; near 0 the curve is a straight line.
    """

    midpoint: float
    steepness: float

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


@dataclass(frozen=True, slots=True)
class Stretch:
    """One analytic piece of a curve.

    On [start, end] the curve is `base + height * s((u - start) / (end - start))`.
    """

    start: float
    end: float
    base: float
    height: float
    shape: Shape

    def value(self, u: float) -> float:
        """Value of the curve at u, or its left limit at `end`."""
        t = np.array([(u - self.start) / (self.end - self.start)])
        return self.base + self.height * float(self.shape.rise(t)[0])


class CurveFunction:
    """One ratio over the run, with its integral.

    Positions u run from 0 (before the first row) to 1 (after the last). The value is constant
    before the first point and after the last one.
    """

    def __init__(self, positions: Sequence[float], values: Sequence[float], shape: Shape) -> None:
        """Join points with a shape.

        Args:
            positions: Fractions of the run, >= 0, strictly ascending.
            values: Ratio at each position.
            shape: Form of the curve between two points.

        Raises:
            ConfigError: If positions are not strictly ascending.
        """
        for before, after in pairwise(positions):
            if after <= before:
                raise ConfigError(
                    f"the points of a curve must have ascending positions; found {after:.4%} of "
                    f"the run after {before:.4%}: sort them (tokens count as their part of the run)"
                )
        held = [] if positions[0] == 0.0 else [0.0]
        self._shape = shape
        self._starts: Floats = np.array([*held, *positions], dtype=np.float64)
        self._values: Floats = np.array([*values[: len(held)], *values], dtype=np.float64)
        self._lengths: Floats = np.append(np.diff(self._starts), 1.0)
        self._heights: Floats = np.append(np.diff(self._values), 0.0)
        whole = float(shape.area(np.ones(1))[0])
        areas = self._lengths[:-1] * (self._values[:-1] + self._heights[:-1] * whole)
        self._areas: Floats = np.concatenate((np.zeros(1), np.cumsum(areas)))

    @classmethod
    def from_curve(cls, curve: Curve, total_tokens: int) -> CurveFunction:
        """Function of a configured curve; `total_tokens` places points given in tokens."""
        return cls(
            [position.fraction(total_tokens) for position, _ in curve.points],
            [value for _, value in curve.points],
            make_shape(curve.kind, midpoint=curve.midpoint, steepness=curve.steepness),
        )

    @overload
    def value(self, u: float) -> float: ...
    @overload
    def value(self, u: Floats) -> Floats: ...
    def value(self, u: float | Floats) -> float | Floats:
        """Ratio at u; at a step, the value after it."""
        index, t = self._locate(u)
        result: Floats = self._values[index] + self._heights[index] * self._shape.rise(t)
        return result if isinstance(u, np.ndarray) else float(result)

    @overload
    def integral(self, u: float) -> float: ...
    @overload
    def integral(self, u: Floats) -> Floats: ...
    def integral(self, u: float | Floats) -> float | Floats:
        """Integral of the ratio from 0 to u; exactly constant where the ratio is held at 0."""
        index, t = self._locate(u)
        height = self._values[index] * t + self._heights[index] * self._shape.area(t)
        result: Floats = self._areas[index] + self._lengths[index] * height
        return result if isinstance(u, np.ndarray) else float(result)

    def stretches(self) -> tuple[Stretch, ...]:
        """Analytic pieces, in order, that cover [0, 1]; the last may extend beyond 1."""
        pieces = zip(
            self._starts.tolist(),
            # Not start + length: its rounding would leave a gap before the next piece.
            [*self._starts[1:].tolist(), float(self._starts[-1] + self._lengths[-1])],
            self._values.tolist(),
            self._heights.tolist(),
            strict=True,
        )
        return tuple(
            Stretch(start, end, base, height, self._shape if height else Linear())
            for start, end, base, height in pieces
            if start < 1.0
        )

    def _locate(self, u: float | Floats) -> tuple[NDArray[np.intp], Floats]:
        """Stretch of each u and the position t in it, in [0, 1]."""
        at = np.asarray(u, dtype=np.float64)
        index = np.searchsorted(self._starts, at, side="right") - 1
        t: Floats = (at - self._starts[index]) / self._lengths[index]
        return index, t


def make_shape(kind: CurveKind, *, midpoint: float, steepness: float) -> Shape:
    """Shape of a curve kind; only sigmoids use midpoint and steepness."""
    if kind == "sigmoid":
        return Sigmoid(midpoint, steepness)
    if kind == "cosine":
        return Cosine()
    if kind == "step":
        return Step()
    return Linear()
