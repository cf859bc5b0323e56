"""A user's own settings of DeepSpeed: all that are taken, at two ranks, change nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rank_processes import TIMES, TRAIN, lines_of, logs, start_ranks, wait_all, without
from safetensors.torch import load_file
from tiny_world import make_tiny_world

from linly.config.deepspeed import TAKEN

pytestmark = pytest.mark.distributed
OWN = {
    "zero_optimization": {
        "reduce_bucket_size": 3000,
        "allgather_bucket_size": 5000,
        "allgather_partitions": False,
        "overlap_comm": True,
        "reduce_scatter": True,
        "contiguous_gradients": True,
    },
    "steps_per_print": 2,
    "wall_clock_breakdown": True,
    "dump_state": True,
    "comms_logger": {
        "enabled": True,
        "verbose": False,
        "prof_all": False,
        "debug": False,
        "prof_ops": ["all_reduce"],
    },
}


def train(recipe: Path, run: Path, log: Path, *overrides: str) -> str:
    arguments = [TRAIN, str(recipe), f"run={run}", "data.producers=0", *overrides]
    codes = wait_all(start_ranks(arguments, 2, log))
    assert codes == [0, 0], logs(log)
    return logs(log)


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    return {k: v for file in folder.glob("rank-*") for k, v in load_file(file).items()}


def test_all_that_is_taken_trains_and_resumes_as_without(tmp_path: Path) -> None:
    flat = {f"{k}.{n}" for k, v in OWN.items() if isinstance(v, dict) for n in v}
    assert flat | {k for k, v in OWN.items() if not isinstance(v, dict)} == set(TAKEN)
    recipe = make_tiny_world(tmp_path / "world", num_steps=6)
    (tmp_path / "own.json").write_text(json.dumps(OWN))
    own = f"training.deepspeed={tmp_path / 'own.json'}"
    plain, other = tmp_path / "plain", tmp_path / "other"
    train(recipe, plain, tmp_path / "plain.log", "checkpoint.every=3")
    train(recipe, other, tmp_path / "first.log", "checkpoint.every=3", "stop_at_step=3")
    printed = train(recipe, other, tmp_path / "second.log", "checkpoint.every=3", own)
    assert "time (ms)" in printed  # what the file asks DeepSpeed to print
    before, after = weights(plain, 6), weights(other, 6)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]), name
    first, second = (without(lines_of(run, "metrics"), *TIMES) for run in (plain, other))
    assert [line["loss"] for line in first] == [line["loss"] for line in second]
    resumed = [line for line in lines_of(other, "decisions") if line["kind"] == "resume"]
    keys = {change["key"] for change in resumed[-1]["changes"]}
    assert "training.deepspeed.zero_optimization.reduce_bucket_size" in keys
