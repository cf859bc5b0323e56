"""What `linly train` prints at its end."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
sys.modules["plotly"] = None  # as where it is not installed
from linly.cli.train import _report_line
print(_report_line(Path("runs/mine")))
"""


def test_a_node_without_plotly_ends_a_run_without_a_report_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "report: none, plotly is not installed here; "
        "run linly report runs/mine where linly[monitor] is installed\n"
    )
