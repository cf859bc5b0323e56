"""Runs whose numbers are as small, or as large, as their settings allow."""

from __future__ import annotations

import math
from pathlib import Path

import orjson
import pytest

from linly.config.recipe import load_recipe
from linly.errors import ConfigError
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

SMALLEST = (
    "data.prefetch_rows=1",
    "data.seed=0",
    "training.micro_batch=1",
    "training.clip=1e-4",
    "training.eps=1e-20",
    "training.betas=[0, 0]",
    "training.weight_decay=5e-324",
    "training.warmup=0%",
    "training.reduce_bucket_size=1",
    "training.allgather_bucket_size=2",
    "training.collective_timeout_s=1",
    "checkpoint.every=1",
    "checkpoint.keep_last=1",
    "evaluation.every=1",
    "evaluation.max_documents=1",
    "evaluation.max_new_tokens=1",
    "guards.spike_window=2",
    "alarms.window=2",
    "alarms.drift=1e-6",
    "corpora.english.read_attempts=1",
    "corpora.english.read_delay_s=0.001",
)
LARGEST = (
    "data.prefetch_rows=1048576",
    "data.seed=9223372036854775807",
    "data.timeout_s=1000000",
    "training.micro_batch=8",
    "training.clip=1e30",
    "training.eps=1",
    "training.betas=[0.999999, 0.999999]",
    "training.warmup=100%",
    "training.reduce_bucket_size=2147483647",
    "training.allgather_bucket_size=2147483646",
    "training.collective_timeout_s=1000000",
    "checkpoint.every=1000000000000",
    "checkpoint.keep_last=1000000000000",
    "evaluation.every=1000000000000",
    "evaluation.max_documents=1000000000000",
    "guards.spike=1e6",
    "guards.spike_window=1000000",
    "guards.max_consecutive_skips=1000000000000",
    "alarms.window=1000000",
    "alarms.drift=1e12",
    "corpora.english.read_attempts=1000",
    "corpora.english.read_delay_s=1000000",
    "curriculum.mixture.english.sources.english={share: 100%, max_epochs: 1e9}",
    "stop_at_step=1000000000000",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_world(tmp_path_factory.mktemp("world"), num_steps=3)


@pytest.mark.parametrize("settings", [SMALLEST, LARGEST], ids=["smallest", "largest"])
def test_run_trains_with_every_number_at_its_bound(
    world: Path, alone: Processes, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    recipe = load_recipe(world, [f"run={tmp_path / 'run'}", "data.producers=0", *settings])
    outcome = train(recipe, alone, resume_step=None)
    assert outcome.is_complete
    steps = [orjson.loads(line) for line in (recipe.run / "metrics.jsonl").open("rb")]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert all(math.isfinite(step["loss"]) and not step["skipped"] for step in steps)


@pytest.mark.parametrize(
    ("tokens", "num_steps"), [(256, 1), (511, 1), (512, 2)], ids=["one", "almost two", "two"]
)
def test_run_of_few_steps_ends_complete(
    world: Path, alone: Processes, tmp_path: Path, tokens: int, num_steps: int
) -> None:
    recipe = load_recipe(
        world, [f"run={tmp_path / 'run'}", "data.producers=0", f"curriculum.tokens={tokens}"]
    )
    outcome = train(recipe, alone, resume_step=None)
    assert (outcome.step, outcome.is_complete) == (num_steps, True)
    again = train(recipe, alone, resume_step=None)
    assert (again.step, again.is_complete) == (num_steps, True)


def test_tokens_below_one_global_batch_are_refused(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"found 255 tokens, allowed: at least one step of 8"):
        load_recipe(world, ["curriculum.tokens=255"])


def test_completions_longer_than_the_model_are_refused_before_training(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    recipe = load_recipe(world, [f"run={tmp_path / 'run'}", "evaluation.max_new_tokens=2048"])
    with pytest.raises(
        ConfigError, match=r"max_new_tokens: found 2,048, allowed: 2,0\d\d or less: .* positions"
    ):
        train(recipe, alone, resume_step=None)
    assert not (recipe.run / "metrics.jsonl").exists()
