"""Random curves and mixtures for property tests: any number of sources, ratios that add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from linly.config.shapes import CURVES, Shape
from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.curves import CurveFunction
from linly.curriculum.mixture import Mixture


def curve(
    kind: str, positions: list[float], values: list[float], **parameters: float
) -> CurveFunction:
    return CurveFunction(positions, values, CURVES[kind].model_validate(parameters))


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """A curve of any kind; numbers that a parameter refuses are drawn again."""
    kind = CURVES[draw(st.sampled_from(sorted(CURVES)))]
    numbers = st.one_of(st.floats(0.01, 0.99), st.floats(0.001, 100))
    parameters = {
        name: draw(numbers.filter(_takes(kind, name))) for name in sorted(kind.model_fields)
    }
    return kind.model_validate(parameters)


def _takes(kind: type[Shape], name: str) -> Callable[[float], bool]:
    def takes(value: float) -> bool:
        try:
            kind.model_validate({name: value})
        except ValidationError as error:
            return all(name not in details["loc"] for details in error.errors())
        return True

    return takes


@st.composite
def curves(draw: st.DrawFn) -> CurveFunction:
    cuts = draw(st.lists(st.integers(0, 130), min_size=1, max_size=6, unique=True))
    values = draw(st.lists(st.floats(0, 1), min_size=len(cuts), max_size=len(cuts)))
    return CurveFunction([cut / 100 for cut in sorted(cuts)], values, draw(shapes()))


GRAINS = (2, 3, 6, 7, 16, 100)
"""Ratios are multiples of 1/grain: many integrals meet deadlines exactly, the hardest case."""


@st.composite
def mixtures(draw: st.DrawFn, max_sources: int = 20, max_rows: int = 300) -> Mixture:
    """A mixture of 1 to `max_sources` sources; curves of one group share points, so sums are 1."""
    num_sources = draw(st.integers(1, max_sources))
    num_groups = draw(st.integers(1, num_sources))
    group_of = [*range(num_groups)] + [
        draw(st.integers(0, num_groups - 1)) for _ in range(num_sources - num_groups)
    ]
    grain = draw(st.sampled_from(GRAINS))
    num_rows = draw(st.integers(1, max_rows))
    num_points = draw(st.integers(1, 6))
    cuts = draw(
        st.lists(st.integers(1, 60), min_size=num_points - 1, max_size=num_points - 1, unique=True)
    )
    positions = [0.0, *(cut / 60 for cut in sorted(cuts))]
    shape = draw(shapes())
    ratios = np.array([_composition(draw, grain, num_groups) for _ in positions]) / grain
    curves: dict[str, CurveFunction | None] = {
        f"g{index}": CurveFunction(positions, ratios[:, index].tolist(), shape)
        for index in range(num_groups)
    }
    if draw(st.booleans()):
        curves[f"g{draw(st.integers(0, num_groups - 1))}"] = None
    shares = {}
    for index in range(num_groups):
        members = [f"s{source}" for source in range(num_sources) if group_of[source] == index]
        parts = [draw(st.sampled_from((0, 1, 1, 2, 5))) for _ in members]
        parts[0] = max(parts[0], 1)
        shares[f"g{index}"] = {
            name: part / sum(parts) for name, part in zip(members, parts, strict=True)
        }
    return Mixture(curves, shares, num_rows=num_rows)


def _composition(draw: st.DrawFn, total: int, num_parts: int) -> list[int]:
    """Non-negative integers that add up to `total`."""
    cuts = sorted(draw(st.integers(0, total)) for _ in range(num_parts - 1))
    edges = [0, *cuts, total]
    return [high - low for low, high in pairwise(edges)]


def counts_by_prefix(mixture: Mixture, order: Sequence[str]) -> NDArray[np.int64]:
    """Rows of each source after each row of `order`, int64 [n, k]."""
    column = {name: index for index, name in enumerate(mixture.sources)}
    made = np.zeros((len(order), len(mixture.sources)), dtype=np.int64)
    made[np.arange(len(order)), [column[name] for name in order]] = 1
    return made.cumsum(axis=0)


def schedule(*phases: Phase) -> list[str]:
    """The whole order of a run."""
    return list(Apportioner(phases))
