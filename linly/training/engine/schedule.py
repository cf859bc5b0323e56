"""Learning rate as a function of the step: linear warm-up, then cosine or constant.

It is a pure function of the step, so a resumed run, or one with skipped steps, needs no state.
"""

from __future__ import annotations

import math

from linly.config.sections.training_section import TrainingSettings


def learning_rate(training: TrainingSettings, *, step: int, num_steps: int) -> float:
    """Learning rate of step `step` (from 1) in a run of `num_steps`.

    The warm-up reaches `lr` at its last step. The cosine ends at `final_lr` times `lr` at the last
    step of the run.
    """
    warmup_steps = math.ceil(training.warmup * num_steps)
    if step <= warmup_steps:
        return training.lr * step / warmup_steps
    if training.schedule == "constant":
        return training.lr
    progress = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return training.lr * (training.final_lr + (1 - training.final_lr) * cosine)
