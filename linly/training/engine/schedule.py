"""The learning rate as a function of the step: linear warm-up, then cosine or constant.

A pure function of the data's step: a resumed run, or one with skipped steps, needs no state.
"""

from __future__ import annotations

import math

from linly.config.settings import TrainingSettings


def learning_rate(training: TrainingSettings, *, step: int, num_steps: int) -> float:
    """The rate of step `step` (from 1) of a run of `num_steps`.

    The warm-up reaches the full rate at its last step; the cosine ends at `final_lr` of it at the
    run's last step.
    """
    warmup_steps = math.ceil(training.warmup * num_steps)
    if step <= warmup_steps:
        return training.lr * step / warmup_steps
    if training.schedule == "constant":
        return training.lr
    progress = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return training.lr * (training.final_lr + (1 - training.final_lr) * cosine)
