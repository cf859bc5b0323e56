"""Ten thousand damaged shards of all formats and compressions: errors of linly only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.guards_file import ROOT
from tests.faults.shard_fuzz import SEED

NUM_SHARDS = 10_000
NUM_AT_ONCE = 500


@pytest.mark.faults
@pytest.mark.parametrize("first", range(0, NUM_SHARDS, NUM_AT_ONCE))
def test_damaged_shards_raise_errors_of_linly_and_end_no_process(first: int) -> None:
    command = [sys.executable, "-m", "tests.faults.shard_fuzz"]
    numbers = map(str, (SEED, NUM_AT_ONCE, first))
    done = subprocess.run([*command, *numbers], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout.strip())
