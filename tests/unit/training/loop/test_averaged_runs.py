"""Runs with averaged weights: training is undisturbed, means are right, resumes continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors import safe_open

from linly.config.recipe import load_recipe
from linly.training.checkpoints.contents import content_problem
from linly.training.checkpoints.manifest import Manifest, folder_name
from linly.training.loop.trainer import Outcome, train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

NUM_STEPS = 14
EMA = "training.average={kind: ema, decay: 0.7, every: 2}"
WINDOW = "training.average={kind: window, steps: 4, every: 2}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS)
    return folder


def start(world: Path, alone: Processes, name: str, *overrides: str) -> Outcome:
    settings = [
        f"run={world / 'runs' / name}",
        "data.producers=0",
        "checkpoint={every: 1, keep_last: 99}",
        "evaluation={every: 6, prompts: []}",
    ]
    recipe = load_recipe(world / "recipe.yaml", [*settings, *overrides])
    return train(recipe, alone, resume_step=None)


@pytest.fixture(scope="module")
def plain(world: Path, alone: Processes) -> Path:
    start(world, alone, "plain")
    return world / "runs" / "plain"


@pytest.fixture(scope="module")
def ema(world: Path, alone: Processes) -> Path:
    outcome = start(world, alone, "ema", EMA)
    assert ", averaged weights of steps 2-14: zh " in outcome.summary
    return world / "runs" / "ema"


@pytest.fixture(scope="module")
def window(world: Path, alone: Processes) -> Path:
    """Stopped twice, in an incomplete window and just after one, and resumed."""
    for step in (5, 11):
        start(world, alone, "window", WINDOW, f"stop_at_step={step}")
    start(world, alone, "window", WINDOW)
    return world / "runs" / "window"


def saved(run: Path, step: int, key: str = "master") -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / folder_name(step)
    found = {}
    for name, file in Manifest.read(folder).parameters.items():
        with safe_open(folder / file, framework="pt") as tensors:
            if f"{key}.{name}" in tensors.keys():  # noqa: SIM118
                found[name] = tensors.get_tensor(f"{key}.{name}")
    return found


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{name}.jsonl").read_bytes().splitlines()]


def assert_mean(run: Path, step: int, factors: dict[int, float]) -> None:
    """The average at a step is that of the masters saved at other steps."""
    samples = {at: saved(run, at) for at in factors}
    means, last = saved(run, step, "average"), saved(run, step)
    assert means.keys() == last.keys()
    for name, mean in means.items():
        total = sum(factor * samples[at][name].double() for at, factor in factors.items())
        expected = total / sum(factors.values())
        assert torch.allclose(mean.double(), expected, rtol=0, atol=1e-6), name
        assert not torch.allclose(last[name].double(), expected, rtol=0, atol=1e-6), name


def test_averaging_does_not_change_the_training(plain: Path, ema: Path) -> None:
    for key in ("loss", "grad_norm"):
        first, second = ([line[key] for line in lines(run, "metrics")] for run in (plain, ema))
        assert first == second
    for key in ("master", "exp_avg", "exp_avg_sq"):
        other = saved(ema, NUM_STEPS, key)
        for name, tensor in saved(plain, NUM_STEPS, key).items():
            assert torch.equal(tensor, other[name]), name
    for one, two in zip(lines(plain, "evaluations"), lines(ema, "evaluations"), strict=True):
        assert (one["sources"], one["languages"]) == (two["sources"], two["languages"])
        assert one["average"] is None


@pytest.mark.parametrize("step", [3, NUM_STEPS])
def test_an_ema_is_that_of_the_saved_weights(ema: Path, step: int) -> None:
    last = step // 2 * 2
    factors = {at: 0.7 ** ((last - at) // 2) for at in range(2, last + 1, 2)}
    assert_mean(ema, step, factors)


@pytest.mark.parametrize(("step", "samples"), [(9, (4, 6)), (11, (8, 10)), (14, (12, 14))])
def test_a_window_is_the_mean_of_the_saved_weights(
    window: Path, step: int, samples: tuple[int, ...]
) -> None:
    """Windows end at 14, 10 and 6; the run was stopped and resumed after steps 5 and 11."""
    assert_mean(window, step, dict.fromkeys(samples, 1.0))


def test_both_weights_are_evaluated(plain: Path, ema: Path, window: Path) -> None:
    for run, steps in ((ema, [None, (2, 6), (2, 12), (2, 14)]), (window, None)):
        found = lines(run, "evaluations")
        averages = [line["average"] for line in found]
        if steps is not None:
            spans = [a and (a["first_step"], a["last_step"]) for a in averages]
            assert spans == steps
        last, average = found[-1], averages[-1]
        assert average["sources"].keys() == last["sources"].keys()
        assert average["languages"].keys() == last["languages"].keys()
        for name, result in average["sources"].items():
            assert result["bytes"] == last["sources"][name]["bytes"]
            assert result["loss"] != last["sources"][name]["loss"]
    averages = [line["average"] for line in lines(window, "evaluations") if line["average"]]
    assert (averages[-1]["samples"], averages[-1]["first_step"]) == (2, 12)


def test_a_resume_may_add_change_and_remove_the_average(
    world: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = world / "runs" / "changed"
    start(world, alone, "changed", "stop_at_step=4")
    assert saved(run, 4, "average") == {}
    start(world, alone, "changed", "stop_at_step=7", EMA)
    assert "average: begins here (ema of decay 0.7 every 2 steps)" in capsys.readouterr().out
    assert_mean(run, 7, {6: 1.0})
    start(world, alone, "changed", "stop_at_step=10", WINDOW)
    assert "average: begins anew (window of 4 steps, every 2)" in capsys.readouterr().out
    assert_mean(run, 10, {8: 1.0, 10: 1.0})
    start(world, alone, "changed", "training.average=null")
    assert saved(run, NUM_STEPS, "average") == {}
    changes = [line["changes"] for line in lines(run, "decisions") if line["kind"] == "resume"]
    assert [{c["key"] for c in change} >= {"training.average.kind"} for change in changes] == [
        True
    ] * 3


def test_a_file_with_another_parameter_s_average_is_damaged(window: Path) -> None:
    path = window / "checkpoints" / folder_name(12) / "rank-00000.safetensors"
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
    names = sorted(key.removeprefix("master.") for key in keys if key.startswith("master."))
    assert {f"{key}.{names[0]}" for key in ("average", "average_running")} <= keys
    assert content_problem(path, names, step=12) is None
    assert content_problem(path, names[1:], step=12) is not None
