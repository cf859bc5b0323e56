"""Chats in parquet beside plain reading: time and memory, by the size of a row group.

Run by `make bench`, or alone:

    python -m pytest -m benchmark tests/benchmarks/test_chat_reading.py -s
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.speed import Measured, Target, side_by_side, table_row

pytestmark = pytest.mark.benchmark

GROUP_MB = (50, 100, 200)
ROUNDS = 15
TIME = Target(most=1.5)
MEMORY = Target(most=1.5)

PROGRAM = """
import sys, time
from pathlib import Path
import pyarrow.parquet as pq
from linly.data.reading.parquet import BUFFER_BYTES, read_parquet
from linly.data.reading.shard_files import ShardFiles
from tests.support.peak_memory import peak_bytes
path = Path(sys.argv[2])
before = peak_bytes()
began = time.process_time()
if sys.argv[1] == "linly":
    for record in read_parquet(ShardFiles((path,), (), ("messages",), (), 0)):
        pass
else:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
        for batch in file.iter_batches(batch_size=1024, columns=["messages"]):
            for row in batch.to_pylist():
                pass
print(time.process_time() - began)
print(peak_bytes() - before)
"""


def write_chats(path: Path, megabytes: int) -> None:
    """A row group of so many MB: two to eight turns a row, the texts all different."""
    draw = random.Random(megabytes)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)]
    rows, size_bytes = [], 0
    while size_bytes < megabytes * 1_000_000:
        turns = []
        for role in ("user", "assistant") * draw.randint(1, 4):
            text = " ".join(draw.choices(words, k=draw.randint(5, 160)))
            turns.append({"role": role, "content": text})
            size_bytes += len(text)
        rows.append(turns)
    pq.write_table(pa.table({"messages": rows}), path, row_group_size=len(rows))


def measure(how: str, path: Path) -> tuple[float, float]:
    """Give processor seconds, and how many bytes more were resident at the peak."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    seconds, size_bytes = map(float, done.stdout.split())
    return seconds, size_bytes


@pytest.mark.parametrize("megabytes", GROUP_MB)
def test_chats_beside_plain_reading(tmp_path: Path, megabytes: int) -> None:
    path = tmp_path / "chats.parquet"
    write_chats(path, megabytes)
    taken: dict[str, list[float]] = {"linly": [], "plain": []}

    def take(how: str) -> float:
        seconds, size_bytes = measure(how, path)
        taken[how].append(size_bytes / (1 << 20))
        return seconds

    seconds = side_by_side({how: lambda how=how: take(how) for how in taken}, rounds=ROUNDS)
    mebibytes = {how: Measured(tuple(values)) for how, values in taken.items()}
    what = f"Chats in parquet, a row group of {megabytes} MB"
    for name, measured, form, unit, target in (
        ("time", seconds, ".2f", "s", TIME),
        ("memory", mebibytes, ".0f", "MiB", MEMORY),
    ):
        linly, plain = measured["linly"], measured["plain"]
        figures = f"{linly.median:{form}} {unit}, plain {plain.median:{form}} {unit}"
        ratio = linly.over(plain)
        print("\n" + table_row(f"{what}, {name}", figures, ratio, target), end="")
        assert target.met(ratio.median), f"{name}: {ratio.show('.2f')}"
