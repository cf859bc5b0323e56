"""What training costs beside its arithmetic: `linly train` against the least loop that trains.

The loop runs the same model over the same rows with the same DeepSpeed settings, its tensors lying
ready. Both make two processes; they take turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from pathlib import Path

import orjson
import pytest

from linly.config.deepspeed import deepspeed_config
from linly.config.recipe import load_recipe
from tests.support.rank_processes import BIN, REPOSITORY, environment, free_port
from tests.support.speed_world import first_steps, linly, make_speed_world, save_steps

pytestmark = pytest.mark.benchmark

ROUNDS, STEPS, WARM_UP = 2, 12, 3
SEQUENCE_LENGTH, GLOBAL_BATCH, MICRO_BATCH = 256, 16, 4
TOKENS = "curriculum.tokens=200K"  # the tiny sample is enough for them
TARGET = 0.97


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    recipe_file = make_speed_world(
        folder,
        sequence_length=SEQUENCE_LENGTH,
        global_batch=GLOBAL_BATCH,
        micro_batch=MICRO_BATCH,
        size="tiny",
    )
    tokenizer = folder / "english.model"
    linly(
        *("model", "init", "--config", "small", "--tokenizer", str(tokenizer)),
        *("--output", str(folder / "model")),
    )
    recipe = load_recipe(recipe_file, [TOKENS])
    save_steps(first_steps(recipe, tokenizer, STEPS), folder / "rows.npz")
    accumulation = GLOBAL_BATCH // MICRO_BATCH // 2
    config = deepspeed_config(
        recipe.training, accumulation=accumulation, world_size=2, has_gpu=False
    )
    (folder / "deepspeed.json").write_text(json.dumps(config))
    return folder


def on_two_ranks(folder: Path, *arguments: str) -> None:
    launcher = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-port", free_port()]
    done = subprocess.run(
        [*launcher, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def train(folder: Path) -> tuple[list[float], list[float]]:
    """Tokens a second of each step, and the part of it that waits for rows."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    on_two_ranks(
        folder,
        *(str(REPOSITORY / "launch" / "train.py"), str(folder / "recipe.yaml")),
        *(TOKENS, f"stop_at_step={STEPS}", "--quiet"),
    )
    lines = (folder / "runs/speed/metrics.jsonl").read_bytes().splitlines()[WARM_UP:]
    metrics = [orjson.loads(line) for line in lines]
    assert len(metrics) == STEPS - WARM_UP
    return (
        [line["tokens_per_second"] for line in metrics],
        [line["data_wait_fraction"] for line in metrics],
    )


def loop(folder: Path) -> list[float]:
    """Tokens a second of each step."""
    output = folder / "bare.json"
    files = [str(folder / name) for name in ("model", "rows.npz", "deepspeed.json", "bare.json")]
    on_two_ranks(folder, str(Path(__file__).with_name("bare_loop.py")), *files)
    return [GLOBAL_BATCH * SEQUENCE_LENGTH / s for s in json.loads(output.read_text())[WARM_UP:]]


def test_training_is_as_fast_as_the_least_loop(world: Path) -> None:
    """Medians are shown against the target; what must hold is that of the fastest steps.

    Others may use the machine at the same time, and the fastest steps know least of them.
    """
    ours, waits, bare = [], [], []
    for _ in range(ROUNDS):
        speeds, waited = train(world)
        ours += speeds
        waits += waited
        bare += loop(world)
    median, best = (take(ours) / take(bare) for take in (statistics.median, max))
    print(f"\nlinly train {statistics.median(ours):,.0f} tokens/s, best {max(ours):,.0f}; ", end="")
    print(f"the least loop {statistics.median(bare):,.0f}, best {max(bare):,.0f}")
    verdict = "met" if median >= TARGET else "**below target**"
    print(f"medians {median:.3f} (target {TARGET}, {verdict}), best steps {best:.3f}")
    print(f"waiting for rows: {statistics.median(waits):.2%} of a step (target below 1%)")
    assert best >= 0.9
    assert statistics.median(waits) < 0.01
