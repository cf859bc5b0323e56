"""The running means of flat shares: which steps they sample, and how a resume continues them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from linly.config.sections.average_setting import WeightAveraging
from linly.training.engine.weight_average import SampledSteps, WeightAverage
from tests.support.engines import accumulate, tiny_engine

EMA = {"kind": "ema", "decay": 0.8, "every": 3}
WINDOW = {"kind": "window", "steps": 6, "every": 2}
NUM_STEPS = 20


def weights(step: int) -> torch.Tensor:
    """Weights after a step, in odd number and of different sizes."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(1 << 20 | 137, generator=generator)


def averaged(
    settings: dict[str, Any], *, num_steps: int = NUM_STEPS, cuts: tuple[int, ...] = ()
) -> WeightAverage:
    """The average of all steps, of shares that are cut at some places."""
    masters = [part.clone() for part in torch.tensor_split(weights(0), cuts)]
    average = WeightAverage(WeightAveraging.model_validate(settings), masters, num_steps=num_steps)
    for step in range(1, NUM_STEPS + 1):
        average.wait()
        for master, part in zip(masters, torch.tensor_split(weights(step), cuts), strict=True):
            master.copy_(part)
        average.update(step)
    return average


def test_an_ema_weighs_each_sample_by_its_age() -> None:
    average = averaged(EMA)
    assert average.steps == SampledSteps(6, 3, 18)
    factors = [0.8 ** ((18 - step) // 3) for step in range(3, 19, 3)]
    samples = [weights(step).double() for step in range(3, 19, 3)]
    total = sum(factor * sample for factor, sample in zip(factors, samples, strict=True))
    assert torch.allclose(average.mean[0].double(), total / sum(factors), rtol=0, atol=1e-6)


def test_a_window_ends_with_the_run() -> None:
    average = averaged(WINDOW)
    assert average.steps == SampledSteps(3, 16, 20)
    mean = sum(weights(step).double() for step in (16, 18, 20)) / 3
    assert torch.allclose(average.mean[0].double(), mean, rtol=0, atol=1e-6)


def test_an_incomplete_first_window_gives_no_mean() -> None:
    """Of 20 steps, windows of 6 end at 2, 8, 14 and 20; the first would begin before the run."""
    average = WeightAverage(
        WeightAveraging.model_validate(WINDOW), [torch.zeros(3)], num_steps=NUM_STEPS
    )
    seen = []
    for step in range(1, NUM_STEPS + 1):
        average.update(step)
        seen.append(average.steps.samples)
    assert seen == [0] * 7 + [3] * 13


@pytest.mark.parametrize("settings", [EMA, WINDOW])
def test_a_mean_does_not_depend_on_the_shares(settings: dict[str, Any]) -> None:
    (whole,) = averaged(settings).mean
    parts = averaged(settings, cuts=(5, 70_001, 1 << 20)).mean
    assert torch.equal(torch.cat(parts), whole)


def test_a_run_that_ends_at_another_step_begins_a_new_window() -> None:
    """The complete window stays; a shift by whole windows changes nothing."""
    saved = averaged(WINDOW, num_steps=21).state_dict()
    assert saved["running"]["samples"] == 2
    for num_steps, samples, num_notices in ((21, 2, 0), (33, 2, 0), (22, 0, 1)):
        settings = WeightAveraging.model_validate(WINDOW)
        resumed = WeightAverage(settings, [torch.zeros(3)], num_steps=num_steps)
        assert len(resumed.load_state_dict(saved)) == num_notices
        assert resumed.state_dict()["running"]["samples"] == samples
        assert resumed.steps.samples == 3


@pytest.mark.parametrize("change", [{"decay": 0.9}, {"every": 4}])
def test_changed_settings_begin_anew_and_say_so(change: dict[str, Any]) -> None:
    saved = averaged(EMA).state_dict()
    settings = WeightAveraging.model_validate(EMA | change)
    resumed = WeightAverage(settings, [torch.zeros(3)], num_steps=NUM_STEPS)
    (notice,) = resumed.load_state_dict(saved)
    assert notice.endswith("it was ema of decay 0.8 every 3 steps")
    assert (resumed.steps, resumed.keys) == (SampledSteps(), ())
    assert resumed.load_state_dict(None) == [f"training.average: begins here ({settings})"]


@pytest.mark.usefixtures("alone")
def test_a_step_waits_for_the_mean() -> None:
    engine = tiny_engine()
    before = {name: p.detach().clone() for name, p in engine.parameters().items()}
    changed = []

    def wait() -> None:
        now = engine.parameters().items()
        changed.append(any(not torch.equal(p, before[name]) for name, p in now))

    engine.average = SimpleNamespace(wait=wait)  # type: ignore[assignment]
    accumulate(engine)
    engine.step(lr=1e-2)
    assert changed == [False]
