"""What llama.cpp reads in exported folders, by an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

VENV = Path(__file__).resolve().parents[2] / ".venv-llama-cpp"
WORKER = Path(__file__).with_name("llamacpp_worker.py")


def read_with_llamacpp(folder: Path) -> dict[str, dict[str, Any]]:
    """The worker's answer for each subfolder; skips if llama.cpp is not installed."""
    if not (VENV / ".installed").exists():
        pytest.skip(
            "no llama.cpp: `make .venv-llama-cpp/.installed`, with network and a C++ compiler"
        )
    done = subprocess.run(
        [VENV / "bin" / "python", WORKER, VENV / "source" / "vendor" / "llama.cpp", folder],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GGML_NO_BACKTRACE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines}
