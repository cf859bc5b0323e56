"""A user's own settings of DeepSpeed: all that are taken, at two ranks, change nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linly.config.deepspeed import TAKEN
from tests.support.rank_processes import logs, start_ranks, wait_all

pytestmark = pytest.mark.distributed
WORKER = str(Path(__file__).parent / "own_deepspeed_worker.py")
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


def test_all_that_is_taken_trains_as_without(tmp_path: Path) -> None:
    flat = {f"{k}.{n}" for k, v in OWN.items() if isinstance(v, dict) for n in v}
    assert flat | {k for k, v in OWN.items() if not isinstance(v, dict)} == set(TAKEN)
    (tmp_path / "own.json").write_text(json.dumps(OWN))
    log = tmp_path / "own.log"
    codes = wait_all(start_ranks([WORKER, str(tmp_path / "own.json")], 2, log))
    assert codes == [0, 0], logs(log)
    assert "time (ms)" in logs(log)  # what the file asks DeepSpeed to print
