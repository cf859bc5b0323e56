"""`linly train ARGUMENTS`, whose rank 1 stops in the fourth step as if its machine hung."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from linly.cli.main import main
from linly.training.engine.engine import Engine

step = Engine.step
num_steps = 0


def stop_in_the_fourth(self: Engine, *, lr: float) -> Any:
    global num_steps
    num_steps += 1
    if num_steps == 4:
        os.kill(os.getpid(), signal.SIGSTOP)
    return step(self, lr=lr)


if os.environ["RANK"] == "1":
    Engine.step = stop_in_the_fourth  # type: ignore[method-assign]
main(["train", *sys.argv[1:]])
