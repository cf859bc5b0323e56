"""The learning rate's schedule in section `training`: its form, and a decay that ends a branch."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

from linly.config.yaml.json_forms import ALLOWED, JsonForm, JsonSchema
from linly.config.yaml.quantities import Count, Fraction, Number, Tokens, at_least, at_most
from linly.config.yaml.run_position import (
    Position,
    format_position,
    parse_position,
    position_schema,
)
from linly.config.yaml.strict_model import Model, OnResume, Settings, found, problem

ScheduleName = Literal["cosine", "constant", "linear", "wsd", "inverse-sqrt"]
DecayForm = Literal["linear", "cosine", "1-sqrt"]


def _parse_stretch(value: Any) -> Position:
    if isinstance(value, Position):
        return value
    try:
        return parse_position(str(value))
    except ValueError:
        raise problem(found(value, "a part of the run such as 10% or 500M (tokens)")) from None


def _stretch_schema() -> JsonSchema:
    return position_schema() | {ALLOWED: "percentage of the run, or tokens such as `500M`"}


Stretch = Annotated[
    Position,
    BeforeValidator(_parse_stretch),
    PlainSerializer(format_position),
    JsonForm(_stretch_schema),
]
"""Length of a part of a run: a fraction of it, or tokens."""


class Annealing(Model):
    """Decay that begins at a step of a stable run and ends it.

    Attributes:
        from_step: Last step before the decay.
        tokens: Tokens of the decay, rounded up to whole steps; the run ends after them.
    """

    from_step: Count
    tokens: Tokens

    def last_step(self, step_tokens: int) -> int:
        """Last step of the run."""
        return self.from_step + -(-self.tokens // step_tokens)


class ScheduleSettings(Settings):
    """Learning rate of each step.

    Attributes:
        lr: Peak learning rate.
        schedule: Form of the learning rate after warmup: `cosine` and `linear` fall to `final_lr`
            over the run, `constant` stays, `wsd` stays and falls to `final_lr` in its last part
            (`decay`), `inverse-sqrt` falls with the root of the step.
        warmup: Fraction of the steps with linear warmup.
        final_lr: Fraction of `lr` at the end of a decay.
        decay: Last part of the run, in which `wsd` decays.
        decay_form: Form of that decay, and of an annealing branch's.
        annealing: Decay from a step on that ends the run early, in place of the schedule's own;
            `linly fork --decay` sets it.
    """

    lr: Annotated[
        Number,
        at_least(1e-12, "fp32 weights do not move by less"),
        at_most(10, "adaptive optimizers move every weight by about this much in a step"),
        OnResume.RECORDED,
    ] = 5e-5
    schedule: Annotated[ScheduleName, OnResume.RECORDED] = "cosine"
    warmup: Annotated[Fraction, OnResume.RECORDED] = 0.01
    final_lr: Annotated[Fraction, OnResume.RECORDED] = 0.1
    decay: Annotated[Stretch, OnResume.RECORDED] = Position(0.1, "fraction")
    decay_form: Annotated[DecayForm, OnResume.RECORDED] = "linear"
    annealing: Annotated[Annealing | None, OnResume.REFUSED] = None

    def warmup_steps(self, num_steps: int) -> int:
        """Steps of the warmup in a run of `num_steps`."""
        return math.ceil(self.warmup * num_steps)

    def check_length(self, *, num_steps: int, step_tokens: int) -> None:
        """Refuse parts of the schedule that do not fit a run (a check of the recipe's validator).

        Args:
            num_steps: Steps of the run's curriculum.
            step_tokens: Tokens of a step.
        """
        if self.annealing is not None:
            self._check_annealing(self.annealing, num_steps=num_steps, step_tokens=step_tokens)
        elif self.schedule == "wsd":
            part = self.decay.fraction(num_steps * step_tokens)
            if self.warmup + part > 1 + 1e-9:
                written = format_position(self.decay)
                text = found(written, "with the warmup, at most the whole run")
                raise problem(text, "training", "decay")

    def _check_annealing(self, annealing: Annealing, *, num_steps: int, step_tokens: int) -> None:
        key = ("training", "annealing")
        last, warmup_steps = annealing.last_step(step_tokens), self.warmup_steps(num_steps)
        if self.schedule in ("cosine", "linear"):
            text = f"found with schedule: {self.schedule}, allowed: constant, wsd, inverse-sqrt"
            raise problem(text, *key)
        if annealing.from_step < warmup_steps:
            allowed = f"{warmup_steps} or more: the warmup ends there"
            raise problem(found(annealing.from_step, allowed), *key, "from_step")
        if annealing.from_step >= num_steps:
            allowed = f"less than the {num_steps} steps of the curriculum; give it more tokens"
            raise problem(found(annealing.from_step, allowed), *key, "from_step")
        if last > num_steps:
            most = (num_steps - annealing.from_step) * step_tokens
            text = (
                f"found {annealing.tokens:,}, allowed: at most {most:,}, which the curriculum has "
                f"left after step {annealing.from_step}; give it more tokens, or decay over fewer"
            )
            raise problem(text, *key, "tokens")
