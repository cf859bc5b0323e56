"""Random curves and mixtures for property tests: any number of sources, ratios that add up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from linly.curriculum.apportion import Apportioner, Segment
from linly.curriculum.curves import CurveFunction, CurveKind, make_shape
from linly.curriculum.mixture import Mixture

KINDS: tuple[CurveKind, ...] = ("constant", "linear", "cosine", "step", "sigmoid")


def curve(
    kind: CurveKind,
    positions: list[float],
    values: list[float],
    midpoint: float = 0.5,
    steepness: float = 10.0,
) -> CurveFunction:
    shape = make_shape(kind, midpoint=midpoint, steepness=steepness)
    return CurveFunction(positions, values, shape)


@st.composite
def curves(draw: st.DrawFn) -> CurveFunction:
    kind = draw(st.sampled_from(KINDS))
    cuts = draw(st.lists(st.integers(0, 130), min_size=1, max_size=6, unique=True))
    values = draw(st.lists(st.floats(0, 1), min_size=len(cuts), max_size=len(cuts)))
    return curve(
        kind,
        [cut / 100 for cut in sorted(cuts)],
        values,
        draw(st.floats(0.01, 0.99)),
        draw(st.floats(1e-6, 100.0)),
    )


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
    kind = draw(st.sampled_from(KINDS))
    num_points = 1 if kind == "constant" else draw(st.integers(2, 6))
    cuts = draw(
        st.lists(st.integers(1, 60), min_size=num_points - 1, max_size=num_points - 1, unique=True)
    )
    positions = [0.0, *(cut / 60 for cut in sorted(cuts))]
    shape = make_shape(
        kind, midpoint=draw(st.floats(0.1, 0.9)), steepness=draw(st.floats(0.01, 100))
    )
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


def schedule(*segments: Segment) -> list[str]:
    """The whole order of a run."""
    return list(Apportioner(segments))
