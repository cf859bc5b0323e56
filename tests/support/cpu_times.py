"""pytest plugin: processor seconds of each test and fixture, with the processes it waited for.

Writes a line for each into WORKER.jsonl as the tests run; `python -m tests.support.cpu_times` sums
them by file (`make test-times`).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.prepared import PreparedProcess

FOLDER = Path(os.environ.get("LINLY_TEST_TIMES", "build/test-times"))


def _cpu_s() -> float:
    times = os.times()
    here = times.user + times.system + times.children_user + times.children_system
    return here + PreparedProcess.num_cpu_s


def _write(**entry: object) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with (FOLDER / f"{worker}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    cpu, wall = _cpu_s(), time.monotonic()
    try:
        return (yield)
    finally:
        _write(
            test=item.nodeid,
            cpu_s=round(_cpu_s() - cpu, 3),
            wall_s=round(time.monotonic() - wall, 3),
        )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    cpu = _cpu_s()
    try:
        return (yield)
    finally:
        if (spent := round(_cpu_s() - cpu, 3)) >= 0.05:
            _write(
                fixture=fixturedef.argname,
                scope=fixturedef.scope,
                by=request.node.nodeid,
                cpu_s=spent,
            )


def seconds_by_file(folder: Path) -> Counter[str]:
    """Processor seconds of each test file, from the lines of all workers."""
    seconds: Counter[str] = Counter()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "test" in entry:
                seconds[entry["test"].split("::")[0]] += entry["cpu_s"]
    return seconds


if __name__ == "__main__":
    by_file = seconds_by_file(FOLDER)
    print(f"{sum(by_file.values()):8.1f} s of processor time in {len(by_file)} files")
    for file, num_s in by_file.most_common(40):
        print(f"{num_s:8.1f} {file}")
