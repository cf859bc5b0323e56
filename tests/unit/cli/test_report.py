"""`linly report` as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.synthetic_run import SyntheticRun


def linly_report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linly.cli.main", "report", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticRun(tmp_path_factory.mktemp("runs") / "small", num_steps=120).whole()


def test_report_writes_page_and_picture(run: Path, tmp_path: Path) -> None:
    done = linly_report(run, "--output", tmp_path / "r.html", "--png", tmp_path / "m.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert done.stdout == f"report: {tmp_path / 'r.html'}\npicture: {tmp_path / 'm.png'}\n"


def test_recount_tells_the_truth(run: Path) -> None:
    done = linly_report(run, "--recount")
    assert done.returncode == 0, done.stderr
    assert "1,920 rows up to step 120; every counter agrees" in done.stdout


def test_recount_fails_on_a_counter_that_lies(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=30).whole()
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines()
    last = orjson.loads(lines[-1])
    last["rows_by_source"]["belle"] += 1
    log.write_bytes(b"\n".join([*lines[:-1], orjson.dumps(last)]) + b"\n")
    done = linly_report(run, "--recount")
    assert done.returncode == 1
    assert "step 30: belle: rows" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    done = linly_report(tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no run at")
    assert "Traceback" not in done.stderr
