"""The learning rate: formulas of each schedule, ends, continuity, integrals, and shares by it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.sections.schedule_setting import Annealing, DecayForm, ScheduleName
from linly.config.sections.training_section import TrainingSettings
from linly.config.yaml.run_position import Position
from linly.curriculum.learning_rate import LearningRate, rate_weighted_rows
from linly.curriculum.mixture import Mixture
from tests.support.mixture_strategies import curve

SCHEDULES = get_args(ScheduleName)
STEP_TOKENS = 1000


def rate_of(training: TrainingSettings, num_steps: int) -> LearningRate:
    return LearningRate.from_settings(training, num_steps=num_steps, step_tokens=STEP_TOKENS)


def rates(training: TrainingSettings, num_steps: int) -> list[float]:
    rate = rate_of(training, num_steps)
    return [rate.at(step) for step in range(1, rate.num_steps + 1)]


@st.composite
def settings(draw: st.DrawFn) -> tuple[TrainingSettings, int]:
    """Any schedule that fits its run, also with an annealing; and the steps of the run."""
    num_steps = draw(st.integers(2, 400))
    schedule = draw(st.sampled_from(SCHEDULES))
    warmup = draw(st.floats(0, 0.5))
    annealing = None
    if schedule not in ("cosine", "linear") and draw(st.booleans()):
        start = draw(st.integers(max(1, math.ceil(warmup * num_steps)), num_steps - 1))
        tokens = draw(st.integers(1, (num_steps - start) * STEP_TOKENS))
        annealing = Annealing(from_step=start, tokens=tokens)
    part = draw(st.floats(0, 0.5))
    training = TrainingSettings(
        lr=draw(st.floats(1e-6, 1)),
        schedule=schedule,
        warmup=warmup,
        final_lr=draw(st.floats(0, 1)),
        decay=draw(
            st.sampled_from(
                [
                    Position(part, "fraction"),
                    Position(max(1, round(part * num_steps)) * STEP_TOKENS // 2, "tokens"),
                ]
            )
        ),
        decay_form=draw(st.sampled_from(get_args(DecayForm))),
        annealing=annealing,
    )
    return training, num_steps


def test_the_cosine_is_the_documented_formula() -> None:
    training = TrainingSettings(lr=3.0, warmup=0.1, final_lr=0.1)
    values = rates(training, 100)
    assert values[:10] == pytest.approx([0.3 * step for step in range(1, 11)])
    for step in range(10, 101):
        progress = (step - 10) / 90
        expected = 3.0 * (0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2)
        assert values[step - 1] == pytest.approx(expected, rel=1e-14)


def test_a_constant_rate_stays() -> None:
    training = TrainingSettings(lr=2.0, schedule="constant", warmup=0.25)
    assert rates(training, 8) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_a_linear_rate_falls_in_equal_steps() -> None:
    training = TrainingSettings(lr=1.0, schedule="linear", warmup=0.0, final_lr=0.2)
    assert rates(training, 4) == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_the_inverse_root_falls_with_the_root_of_the_step() -> None:
    training = TrainingSettings(lr=1.0, schedule="inverse-sqrt", warmup=0.04)
    values = rates(training, 100)
    assert values[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert (values[15], values[99]) == pytest.approx((0.5, 0.2))
    assert rates(training.model_copy(update={"warmup": 0.0}), 4)[3] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("form", "middle"), [("linear", 0.55), ("cosine", 0.55), ("1-sqrt", 1 - 0.9 * math.sqrt(0.5))]
)
@pytest.mark.parametrize("decay", ["20%", "20K"])
def test_wsd_stays_then_decays_over_its_last_part(decay: str, form: str, middle: float) -> None:
    training = TrainingSettings.model_validate(
        {"lr": 1.0, "schedule": "wsd", "warmup": "5%", "decay": decay, "decay_form": form}
    )
    values = rates(training, 100)
    assert values[4:80] == [1.0] * 76
    assert values[89] == pytest.approx(middle)
    assert values[99] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(values[79:]))


@given(settings())
def test_the_rate_is_continuous_and_hits_its_ends(chosen: tuple[TrainingSettings, int]) -> None:
    training, num_steps = chosen
    rate = rate_of(training, num_steps)
    assert rate.pieces[0].start == 0
    for first, second in pairwise(rate.pieces):
        assert first.end == second.start
        at = first.end
        assert first.rate(at) == pytest.approx(second.rate(at), rel=1e-12)
    last = rate.at(rate.num_steps)
    annealing = training.annealing
    if annealing is not None:
        assert rate.num_steps == annealing.from_step - (-annealing.tokens // STEP_TOKENS)
        assert last == pytest.approx(training.final_lr * rate.at(annealing.from_step), rel=1e-9)
        return
    assert rate.num_steps == num_steps
    warmup_steps = math.ceil(training.warmup * num_steps)
    if warmup_steps:
        assert rate.at(warmup_steps) == pytest.approx(training.lr)
    if training.schedule in ("cosine", "linear"):
        assert last == pytest.approx(training.final_lr * training.lr, abs=1e-12)
    if training.schedule == "constant":
        assert last == training.lr
    if training.schedule == "inverse-sqrt":
        assert last == pytest.approx(training.lr * math.sqrt(max(1, warmup_steps) / num_steps))
    if training.schedule == "wsd" and rate.stable_steps != (warmup_steps, num_steps):
        assert last == pytest.approx(training.final_lr * training.lr, abs=1e-12)


@given(settings(), st.floats(0, 1))
def test_the_integral_equals_quadrature(chosen: tuple[TrainingSettings, int], part: float) -> None:
    training, num_steps = chosen
    rate = rate_of(training, num_steps)
    end = part * rate.num_steps
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for piece in rate.pieces:
        low, high = piece.start, min(piece.end, end)
        if high <= low:
            continue
        # s = low + (high - low) t^2 takes the root at a decay's start, and 1 / root, out.
        t = (nodes + 1) / 2
        steps = low + (high - low) * t * t
        values = np.array([piece.rate(step) for step in steps])
        total += float((values * t * weights).sum()) * (high - low)
    assert rate.integral(end) == pytest.approx(total, rel=1e-7, abs=1e-12)


@given(settings())
def test_the_integral_goes_on_at_the_last_rate(chosen: tuple[TrainingSettings, int]) -> None:
    rate = rate_of(*chosen)
    end = rate.num_steps
    more = rate.integral(end + 0.5) - rate.integral(end)
    assert more == pytest.approx(0.5 * rate.at(end), rel=1e-6, abs=1e-9)
    assert rate.at(end + 7) == rate.at(end)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_without_warmup_or_of_nothing_else_has_a_rate(
    schedule: ScheduleName, warmup: float
) -> None:
    for num_steps in (1, 2, 5):
        training = TrainingSettings(lr=1.0, schedule=schedule, warmup=warmup)
        assert all(0 < value <= 1 for value in rates(training, num_steps))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_shares_by_the_rate_equal_a_sum_over_steps(schedule: ScheduleName) -> None:
    """Of a run with few steps, each exactly; of a long one by the integral."""
    for num_steps in (7, 5000, 20_000):
        training = TrainingSettings(schedule=schedule, warmup=0.01)
        ratios = {"english": curve("cosine", [0, 1], [0.7, 0.2]), "chinese": None}
        shares = {"english": {"a": 0.6, "b": 0.4}, "chinese": {"c": 1.0}}
        mixture = Mixture(ratios, shares, num_rows=num_steps * 4 + 3)
        rate = rate_of(training, num_steps)
        rows = np.diff(mixture.integral(np.arange(num_steps + 1) * 4), axis=0)
        total = np.array([rate.at(step) for step in range(1, num_steps + 1)]) @ rows
        found = rate_weighted_rows(mixture, rate, global_batch=4)
        tolerance = 1e-12 if num_steps < 4096 else 2e-5
        assert found == pytest.approx(total / total.sum(), abs=tolerance)
        assert found.sum() == pytest.approx(1.0)


def test_shares_of_a_branch_count_its_own_steps_only() -> None:
    training = TrainingSettings(
        schedule="constant",
        warmup=0.0,
        final_lr=0.0,
        annealing=Annealing(from_step=60, tokens=20 * STEP_TOKENS),
    )
    mixture = Mixture(
        {"english": curve("step", [0, 0.7], [1.0, 0.0]), "chinese": None},
        {"english": {"a": 1.0}, "chinese": {"c": 1.0}},
        num_rows=100,
    )
    found = rate_weighted_rows(mixture, rate_of(training, 100), global_batch=1, first_step=60)
    rates = [1 - (step - 60) / 20 for step in range(61, 81)]
    assert found[0] == pytest.approx(sum(rates[:10]) / sum(rates))
