"""What choosing the source of a row costs, beside drawing it at random, and how far it is off."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from linly.config.curriculum import load_curriculum
from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.deadlines import drift_bound
from linly.curriculum.mixture import Mixture
from tests.support.speed import cpu_seconds

pytestmark = pytest.mark.benchmark

SEQUENCE_LENGTH = 2048
LIMIT_S = 10
CURRICULUM = Path(__file__).resolve().parents[2] / "curricula" / "linly-llama2.yaml"


def test_exact_apportionment_beside_drawing_sources_at_random() -> None:
    curriculum = load_curriculum(CURRICULUM)
    num_rows = curriculum.tokens // SEQUENCE_LENGTH
    mixture = Mixture.from_curriculum(curriculum, num_rows=num_rows)
    shares = mixture.shares([num_rows // 2])[0].tolist()
    generator = random.Random(0)
    made: list[str] = []
    drawn: list[str] = []
    ours = cpu_seconds(lambda: made.extend(Apportioner([Phase(0, mixture)])))
    theirs = cpu_seconds(
        lambda: drawn.extend(generator.choices(mixture.sources, shares)[0] for _ in made)
    )
    assert len(made) == num_rows
    num_sources = len(mixture.sources)
    verdict = "" if ours < LIMIT_S else " **missed**"
    print(
        f"\n| {num_rows / 1e6:.2f} M rows over {num_sources} sources, exactly | {ours:.1f} s, "
        f"worst deviation {worst_deviation(made, mixture):.3f} rows at any row of any source | "
        f"under {LIMIT_S} s, at most {drift_bound(num_sources):.3f} rows | random.choices: "
        f"{theirs:.1f} s{verdict} |"
    )


def worst_deviation(made: list[str], mixture: Mixture) -> float:
    """Largest distance, in rows, between rows made and the integral of the share, at any row."""
    place = {name: index for index, name in enumerate(mixture.sources)}
    chosen = np.array([place[name] for name in made])
    before: NDArray[np.int64] = np.zeros(len(place), np.int64)
    worst = 0.0
    for start in range(0, len(chosen), 1 << 16):
        part = chosen[start : start + (1 << 16)]
        counts = before + np.cumsum(part[:, None] == np.arange(len(place)), axis=0)
        planned = mixture.integral(np.arange(start + 1, start + 1 + len(part)))
        worst = max(worst, float(np.abs(counts - planned).max()))
        before = counts[-1]
    return worst
