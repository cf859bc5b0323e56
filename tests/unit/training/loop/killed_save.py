"""A run that dies while a save goes on: `killed_save.py SAVED_STEP LAST_STEP RECIPE [KEY=VALUE]`.

The save of one step writes half a file and then hangs; after a later step the process kills itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from linly.cli.main import main
from linly.runs.runs import RunFolder
from linly.training.checkpoints import checkpoints

SAVED_STEP, LAST_STEP = int(sys.argv[1]), int(sys.argv[2])
half_written = threading.Event()
save_file, append = checkpoints.save_file, RunFolder.append


def hang(tensors: Any, path: Path) -> None:
    save_file(tensors, path)
    if f"step-{SAVED_STEP:08d}" in str(path):
        os.truncate(path, path.stat().st_size // 2)
        half_written.set()
        threading.Event().wait()


def end(self: RunFolder, name: str, record: Any) -> None:
    append(self, name, record)
    if (name, record["step"]) == ("metrics", LAST_STEP):
        assert half_written.wait(60)
        os.kill(os.getpid(), signal.SIGKILL)


checkpoints.save_file = hang
RunFolder.append = end  # type: ignore[method-assign]
main(["train", *sys.argv[3:]])
