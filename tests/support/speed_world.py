"""The embedded sample, a vocabulary and a recipe, for measuring the speed of a step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from demo.write import write_sample
from linly.config.recipe import Recipe
from linly.data.loading.loader import Loader, MicroBatch
from tests.support.worlds import plan_of

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = """\
curriculum: {repository}/curricula/demo.yaml
corpora: ["{repository}/corpora/demo"]
data_root: {folder}/data
run: {folder}/runs/speed
model: {folder}/model
data: {{sequence_length: {sequence_length}, global_batch: {global_batch}, prefetch_rows: 256}}
training: {{micro_batch: {micro_batch}, activation_checkpointing: none}}
checkpoint: {{every: 100000, keep_last: 1, keep_every: null}}
evaluation: {{every: 100000, max_documents: 1, prompts: []}}
"""


def linly(*arguments: str) -> None:
    """Run a command of the program."""
    subprocess.run([sys.executable, "-m", "linly.cli.main", *arguments], check=True, cwd=REPOSITORY)


def make_speed_world(
    folder: Path, *, sequence_length: int, global_batch: int, micro_batch: int, size: str = "small"
) -> Path:
    """Write text, a vocabulary of 2,000 pieces (`english.model`) and a recipe; returns that.

    The recipe's model is the caller's to make.
    """
    data = folder / "data"
    write_sample(data, seed=2023, size=size)
    linly(
        *("vocab", "train", "--corpus", "slimpajama", "--size", "2000", "--coverage", "1"),
        *("--corpora", str(REPOSITORY / "corpora/demo"), "--data-root", str(data)),
        *("--output", str(folder / "english.model")),
    )
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        RECIPE.format(
            repository=REPOSITORY,
            folder=folder,
            sequence_length=sequence_length,
            global_batch=global_batch,
            micro_batch=micro_batch,
        ),
        encoding="utf-8",
    )
    return recipe


def first_steps(recipe: Recipe, tokenizer: Path, num_steps: int) -> list[tuple[MicroBatch, ...]]:
    """Micro-batches of the first steps, of all ranks in one."""
    settings = recipe.data.model_copy(update={"producers": 0})
    plan = plan_of(recipe, tokenizer)
    with Loader(
        plan,
        settings=settings,
        micro_batch=recipe.training.micro_batch,
        world_size=1,
        rank=0,
    ) as loader:
        steps = iter(lambda: loader.next_step(plan.phases), None)
        return [step.micro_batches for step in islice(steps, num_steps)]


def save_steps(steps: Sequence[Sequence[MicroBatch]], path: Path) -> None:
    """Write them as one npz: ids, labels and position_ids, each [steps, rows, positions]."""
    arrays = {
        name: np.stack(
            [np.concatenate([getattr(micro, name).numpy() for micro in step]) for step in steps]
        )
        for name in ("ids", "labels", "position_ids")
    }
    np.savez(path, **arrays)
