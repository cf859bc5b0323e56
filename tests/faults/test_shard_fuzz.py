"""Ten thousand damaged shards of all formats and compressions: errors of linly only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from linly.config.shard_formats import FORMATS
from linly.data.reading.formats import format_of
from tests.faults.guards_file import ROOT
from tests.faults.shard_fuzz import SEED, sound_shards

NUM_SHARDS = 10_000
NUM_AT_ONCE = 500


def test_every_format_is_among_the_damaged_shards() -> None:
    found = {format_of(name) or "moses" for name in sound_shards()}
    assert found == FORMATS.keys()


@pytest.mark.faults
@pytest.mark.parametrize("first", range(0, NUM_SHARDS, NUM_AT_ONCE))
def test_damaged_shards_raise_errors_of_linly_and_end_no_process(first: int) -> None:
    command = [sys.executable, "-m", "tests.faults.shard_fuzz"]
    numbers = map(str, (SEED, NUM_AT_ONCE, first))
    done = subprocess.run([*command, *numbers], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout.strip())
