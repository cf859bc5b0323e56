"""What choosing the source of a row costs, beside drawing it at random."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from linly.config.curriculum import load_curriculum
from linly.curriculum.apportion import Apportioner, Segment
from linly.curriculum.mixture import Mixture

pytestmark = pytest.mark.benchmark

NUM_ROWS = 1_000_000
CURRICULUM = Path(__file__).resolve().parents[2] / "curricula" / "linly-llama2.yaml"


def seconds_of(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_exact_apportionment_beside_drawing_sources_at_random() -> None:
    curriculum = load_curriculum(CURRICULUM)
    mixture = Mixture.from_curriculum(curriculum, num_rows=NUM_ROWS)
    shares = mixture.shares([NUM_ROWS // 2])[0].tolist()
    generator = random.Random(0)

    def exact() -> None:
        assert sum(1 for _ in Apportioner([Segment(0, mixture)])) == NUM_ROWS

    def drawn() -> None:
        for _ in range(NUM_ROWS):
            generator.choices(mixture.sources, shares)

    ours, theirs = seconds_of(exact), seconds_of(drawn)
    print(
        f"{len(mixture.sources)} sources, a row: exact {ours / NUM_ROWS * 1e6:.2f} us, "
        f"random.choices {theirs / NUM_ROWS * 1e6:.2f} us, ratio {theirs / ours:.1f}"
    )
