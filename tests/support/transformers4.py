"""What transformers 4 reads in exported folders, by an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

VENV = Path(__file__).parents[2] / ".venv-transformers4"
WORKER = Path(__file__).with_name("transformers4_worker.py")


def read_with_transformers4(folder: Path) -> dict[str, dict[str, Any]]:
    """What the worker says of each subfolder; skips where there is no environment for it."""
    if not (VENV / ".installed").exists():
        pytest.skip("no transformers 4: `make .venv-transformers4/.installed`, with network")
    done = subprocess.run(
        [VENV / "bin" / "python", WORKER, folder],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines}
