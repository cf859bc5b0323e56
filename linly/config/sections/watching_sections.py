"""Sections `guards` and `alarms` of a recipe: what skips a step, and what is reported."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
    Strict,
)

from linly.config.yaml.quantities import (
    Count,
    Fraction,
    Number,
    Text,
    at_least,
    at_most,
)
from linly.config.yaml.strict_model import (
    Model,
)

_MAX_WINDOW = at_most(1_000_000, "each value of a window is held in memory and in checkpoints")
_Window = Annotated[int, Strict(), Field(ge=2), _MAX_WINDOW]


class GuardSettings(Model):
    """Conditions under which a step is skipped and the run fails.

    Attributes:
        spike: Multiple of a source's usual loss above which its loss is a spike.
        spike_window: Number of past steps from which the usual loss is computed.
        max_consecutive_skips: Consecutive skipped steps at which the run fails.
    """

    spike: Annotated[Number, Field(gt=1), at_most(1e6, "no loss rises so far")] = 10.0
    spike_window: _Window = 50
    max_consecutive_skips: Count = 5


class AlarmSettings(Model):
    """Thresholds of the alarms, which appear in the run's events, on its pages and by a command.

    Attributes:
        drift: Rows by which a source may deviate from its plan.
        window: Steps over which the following thresholds are computed.
        loss_rise: Fraction by which a source's loss may rise from one window to the next.
        forgetting: Fraction by which a source's held-out bits per byte may rise above step 0's.
        task_drop: Fraction of its value at step 0 that a task's watched figure may lose.
        data_wait: Fraction of the time that may be spent waiting for rows.
        quarantine: Bad records allowed per row.
        command: Program and arguments, run without a shell for every alarm; it receives the alarm
            as JSON on its standard input.
    """

    drift: Annotated[
        Number,
        at_least(1e-6, "shares are integrated to about 2^-20 row"),
        at_most(1e12, "no run has more rows"),
    ] = 1.0
    window: _Window = 50
    loss_rise: Fraction = 0.1
    forgetting: Fraction = 0.1
    task_drop: Fraction = 0.1
    data_wait: Fraction = 0.05
    quarantine: Fraction = 0.1
    command: tuple[Text, ...] = ()
