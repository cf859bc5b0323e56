"""The learning rate of each step."""

from __future__ import annotations

from itertools import pairwise

import pytest

from linly.config.sections.training_section import TrainingSettings
from linly.training.engine.schedule import learning_rate


def rates(training: TrainingSettings, num_steps: int) -> list[float]:
    return [
        learning_rate(training, step=step, num_steps=num_steps) for step in range(1, num_steps + 1)
    ]


def test_warm_up_rises_to_the_full_rate_then_the_cosine_ends_at_its_final_rate() -> None:
    training = TrainingSettings(lr=1.0, warmup=0.1, final_lr=0.1)
    values = rates(training, 100)
    assert values[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert values[9] == max(values) == 1.0
    assert all(a > b for a, b in pairwise(values[9:]))
    assert values[54] == pytest.approx(0.55)  # half-way down
    assert values[-1] == pytest.approx(0.1)


def test_a_constant_rate_stays() -> None:
    training = TrainingSettings(lr=2.0, schedule="constant", warmup=0.25)
    assert rates(training, 8) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_no_warm_up_and_nothing_else_are_allowed(warmup: float) -> None:
    values = rates(TrainingSettings(lr=1.0, warmup=warmup), 5)
    assert values[-1] == pytest.approx(1.0 if warmup else 0.1)
    assert all(0 < value <= 1 for value in values)
