"""The benchmark for GPUs runs from end to end where there is none, so that only figures lack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rank_processes import environment

pytestmark = pytest.mark.benchmark


def test_every_group_measures_or_says_why_not(tmp_path: Path) -> None:
    script = Path(__file__).with_name("gpu_speed.py")
    command = [sys.executable, str(script), "--tiny", "--output", str(tmp_path)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=590, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = json.loads((tmp_path / "gpu_speed.json").read_text())
    assert [line for line in lines if line["kind"] == "failed"] == []
    speeds = {line["group"] for line in lines if line["kind"] == "speed"}
    assert speeds == {"1b", "1b-hf", "7b", "7b-hf"}
    for line in lines:
        if line["kind"] == "check":
            assert line["difference"] <= line["allowed"], line["name"]
        if line["kind"] == "refused":
            assert "CUDA" in line["reason"] or "not installed" in line["reason"]
    assert "tokens/s" in (tmp_path / "gpu_speed.md").read_text()
