"""The curves of the YAML as functions of the position in the run, with their integrals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from linly.config.curve import Curve
from linly.config.shapes import Floats, Linear, Shape
from linly.errors import ConfigError


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
            curve.shape,
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

    @property
    def is_monotone(self) -> bool:
        """Whether the ratio only rises or only falls between two points."""
        return self._shape.is_monotone

    def _locate(self, u: float | Floats) -> tuple[NDArray[np.intp], Floats]:
        """Stretch of each u and the position t in it, in [0, 1]."""
        at = np.asarray(u, dtype=np.float64)
        index = np.searchsorted(self._starts, at, side="right") - 1
        t: Floats = (at - self._starts[index]) / self._lengths[index]
        return index, t
