"""Chooses a recipe's settings from the size of the model and of the run: pure arithmetic, no I/O.

parameters, positions, tokens, ranks -> rows, batch, learning rate, intervals
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from linly.curriculum.wording import amount
from linly.errors import ConfigError

MAX_SEQUENCE_LENGTH = 2048
_MIN_SEQUENCE_LENGTH = 64
_MAX_STEP_TOKENS = 1 << 20
_MIN_STEP_TOKENS = 1 << 11
_WANTED_STEPS = 1000
_MIN_STEPS = 10
_MIN_BATCH = 16
_LONG_RUN = 1000
_LEARNING_RATES = ((3e9, 5e-5), (8e8, 1e-4), (1e8, 2e-4), (0.0, 1e-3))
"""Least number of parameters -> peak learning rate.

A fraction of the rates of pre-training: LLaMA-2 7B had 3e-4 (arXiv 2307.09288), TinyLlama 1.1B
4e-4 (arXiv 2401.02385), GPT-3 125M 6e-4 (arXiv 2005.14165).
"""

_MICRO_TOKENS = ((3e9, 8192), (8e8, 16384), (0.0, 32768))
"""Least number of parameters -> tokens that a rank computes at once."""

_RANKS_THAT_FIT = 4
"""Ranks that the batch can be divided among on any machine, so that a run can move to more GPUs."""

_LARGE = 8e8
"""Parameters from which activations are recomputed, to save memory."""

_SHORT_RUN = 500
_EVALUATIONS, _SHORT_RUN_EVALUATIONS, _MAX_EVALUATE_EVERY = 20, 3, 250
_EVALUATED_SHARE = 0.2
"""Tokens of all evaluations over those of training: a fifteenth of the time, without backward."""

_MIN_DOCUMENTS, _MAX_DOCUMENTS = 4, 200
_COMPLETION, _SHORT_COMPLETION = 64, 16
_CHECKPOINTS, _SHORT_RUN_CHECKPOINTS, _MAX_SAVE_EVERY = 10, 2, 200


@dataclass(frozen=True, slots=True)
class SettingsChoice:
    """Settings of a recipe that depend on the model and the data.

    Attributes:
        sequence_length: Positions of a row.
        global_batch: Rows of a step.
        num_steps: Steps of the run.
        lr: Peak learning rate.
        warmup: Percentage of the steps with linear warmup.
        micro_batch: Rows that a rank computes at once.
        recomputes: Whether activations are recomputed in backward.
        evaluate_every: Steps between evaluations.
        max_documents: Held-out documents of each corpus in an evaluation.
        max_new_tokens: Tokens with which each prompt is completed in an evaluation.
        save_every: Steps between checkpoints.
    """

    sequence_length: int
    global_batch: int
    num_steps: int
    lr: float
    warmup: int
    micro_batch: int
    recomputes: bool
    evaluate_every: int
    max_documents: int
    max_new_tokens: int
    save_every: int

    @property
    def step_tokens(self) -> int:
        """Tokens of a step."""
        return self.sequence_length * self.global_batch

    @property
    def tokens(self) -> int:
        """Tokens of the run, whole steps only."""
        return self.num_steps * self.step_tokens


def choose_settings(
    *,
    num_parameters: int,
    positions: int | None,
    tokens: int,
    document_tokens: float,
    world_size: int,
) -> SettingsChoice:
    """Choose settings for about 1,000 steps, or more where a step has 1M tokens.

    Args:
        num_parameters: Parameters of the model, all of which train.
        positions: Positions of the model; None if it has no limit.
        tokens: Tokens of the run, at most.
        document_tokens: Tokens of one average document of each corpus, together.
        world_size: Ranks that the batch must be divisible among.

    Raises:
        ConfigError: If the tokens do not suffice for a few steps.
    """
    step_tokens = 1 << int(math.log2(max(1, tokens // _WANTED_STEPS)))
    step_tokens = min(_MAX_STEP_TOKENS, max(_MIN_STEP_TOKENS, step_tokens))
    longest = min(positions or MAX_SEQUENCE_LENGTH, MAX_SEQUENCE_LENGTH)
    sequence_length = min(longest, max(_MIN_SEQUENCE_LENGTH, step_tokens // _MIN_BATCH))
    micro_tokens = next(size for least, size in _MICRO_TOKENS if num_parameters >= least)
    batch = max(step_tokens // sequence_length, world_size)
    most = min(micro_tokens / sequence_length, batch / max(_RANKS_THAT_FIT, world_size))
    micro_batch = _power_of_two(most)
    batch -= batch % (world_size * micro_batch)
    num_steps = tokens // (batch * sequence_length)
    if num_steps < _MIN_STEPS:
        raise ConfigError(
            f"the run would have {amount(tokens)} tokens, allowed: at least "
            f"{_MIN_STEPS * batch * sequence_length:,} ({_MIN_STEPS} steps); add text with --data"
        )
    is_short = num_steps < _SHORT_RUN
    wanted = _SHORT_RUN_EVALUATIONS if is_short else _EVALUATIONS
    num_checkpoints = _SHORT_RUN_CHECKPOINTS if is_short else _CHECKPOINTS
    evaluate_every = _interval(num_steps / wanted, _MAX_EVALUATE_EVERY)
    num_evaluations = 2 + num_steps // evaluate_every
    documents = int(_EVALUATED_SHARE * tokens / num_evaluations / max(1.0, document_tokens))
    return SettingsChoice(
        sequence_length=sequence_length,
        global_batch=batch,
        num_steps=num_steps,
        lr=next(lr for least, lr in _LEARNING_RATES if num_parameters >= least),
        warmup=1 if num_steps > _LONG_RUN else 5,
        micro_batch=micro_batch,
        recomputes=num_parameters >= _LARGE,
        evaluate_every=evaluate_every,
        max_documents=max(_MIN_DOCUMENTS, min(_MAX_DOCUMENTS, documents)),
        max_new_tokens=_SHORT_COMPLETION if is_short else _COMPLETION,
        save_every=_interval(num_steps / num_checkpoints, _MAX_SAVE_EVERY),
    )


def _power_of_two(number: float) -> int:
    """Largest power of two up to a number; at least 1."""
    return 1 << int(math.log2(max(1.0, number)))


def _interval(steps: float, most: int) -> int:
    """Largest of 1, 2, 3, ..., 10, 20, 50, 100, ... up to a number of steps."""
    if steps < 10:
        return max(1, int(steps))
    unit: int = 10 ** int(math.log10(steps))
    rounded = max(unit * factor for factor in (1, 2, 5) if unit * factor <= steps)
    return min(most, rounded)
