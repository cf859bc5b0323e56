"""Phases of a run that train different parameters, and learning rates by part of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from linly.config.sections.trainable_setting import (
    Trainable,
    describe_trainable,
    format_trainable,
    parse_trainable,
)
from linly.config.yaml.json_forms import JsonForm
from linly.config.yaml.quantities import Number, at_least, at_most
from linly.config.yaml.run_position import (
    Position,
    format_position,
    parse_position,
    position_schema,
)
from linly.config.yaml.strict_model import Model, found, problem

_ROUNDING = 1e-9
"""Part of a step that a position may be past a step's end, since 7% of 100 is not exactly 7."""


def _parse_until(value: Any) -> Position:
    """Parse the file form of `until`, a position after the start of the run."""
    if isinstance(value, Position):
        return value
    position = parse_position(str(value))
    if position.value <= 0:
        raise problem(found(value, "a position after the start"))
    return position


_Until = Annotated[
    Position,
    BeforeValidator(_parse_until),
    PlainSerializer(format_position),
    JsonForm(position_schema),
]
_Scale = Annotated[
    Number,
    at_least(1e-6, "fp32 weights do not move by less; use training.phases to freeze a part"),
    at_most(1000, "adaptive optimizers would move whole weights in a step"),
]


class TrainingPhase(Model):
    """A part of a run, in which some parameters train and the others are frozen.

    Attributes:
        until: Position at which the phase ends; the last phase has none.
        trainable: Trainable parameters: `full`, `embeddings` or `new_rows`.
        moments: Optimizer's moments and step counts at the start of the phase: `keep` leaves each
            part's as they were when it last trained (zero if it never did), `zero` restarts those
            of the parts that the phase trains.
    """

    until: _Until | None = None
    trainable: Annotated[Trainable, PlainSerializer(format_trainable)]
    moments: Literal["keep", "zero"] = "keep"

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Spell out the short forms of `trainable`."""
        if "trainable" not in value:
            return value
        return value | {"trainable": parse_trainable(value["trainable"])}


class LrScale(Model):
    """Factors of the learning rate by part of the model, and with it of the weight decay.

    Attributes:
        embeddings: Factor for the input embedding.
        head: Factor for a separate output layer; a tied one is the input embedding.
        new_rows: Factor for the rows of added tokens in both; by default that of their matrix.
    """

    embeddings: _Scale = 1.0
    head: _Scale = 1.0
    new_rows: _Scale | None = None


Phases = Annotated[tuple[TrainingPhase, ...], Field(max_length=100)]


def check_phases(phases: Sequence[TrainingPhase]) -> None:
    """Check phases without the length of the run (a validator's check)."""
    for index, phase in enumerate(phases):
        is_last = index == len(phases) - 1
        if phase.trainable.kind == "lora":
            text = found("lora", "full, embeddings, new_rows: a phase adds no matrices to a model")
            raise problem(text, "phases", index, "trainable")
        if is_last and phase.until is not None:
            text = "found one in the last phase, which lasts until the end of the run: remove it"
            raise problem(text, "phases", index, "until")
        if not is_last and phase.until is None:
            raise problem("missing, only the last phase has none", "phases", index, "until")


def check_ends(phases: Sequence[TrainingPhase], *, tokens: int) -> None:
    """Check that the ends of phases ascend in a run of `tokens` (a validator's check)."""
    ends = [phase.until for phase in phases if phase.until is not None]
    for index, (first, second) in enumerate(pairwise(ends), start=1):
        if second.fraction(tokens) <= first.fraction(tokens):
            one, other = format_position(first), format_position(second)
            text = f"found {other} after {one}, allowed: positions that ascend"
            raise problem(text, "training", "phases", index, "until")


def last_steps(
    phases: Sequence[TrainingPhase], *, num_steps: int, step_tokens: int
) -> tuple[int, ...]:
    """Last step of each phase; a phase includes the step in which it ends.

    A position after the end of the run is cut there, so that later phases have no step.

    Args:
        phases: Phases of the recipe.
        num_steps: Steps of the run.
        step_tokens: Tokens of a step.
    """
    ends = []
    for phase in phases:
        if phase.until is None:
            steps: float = num_steps
        elif phase.until.unit == "fraction":
            steps = phase.until.value * num_steps
        else:
            steps = phase.until.value / step_tokens
        ends.append(min(num_steps, max(1, math.ceil(steps - _ROUNDING))))
    return tuple(ends)


def describe_phases(phases: Sequence[TrainingPhase], ends: Sequence[int]) -> list[str]:
    """A line on each phase: its steps, and what it trains.

    Args:
        phases: Phases of the recipe.
        ends: Last step of each.
    """
    lines = []
    for index, (phase, end) in enumerate(zip(phases, ends, strict=True)):
        first = ends[index - 1] + 1 if index else 1
        steps = f"steps {first:,} to {end:,}" if first <= end else "no step"
        restart = ", with moments from zero" if phase.moments == "zero" and index else ""
        lines.append(f"{steps}: {describe_trainable(phase.trainable)}{restart}")
    return lines


def phase_at(ends: Sequence[int], step: int) -> int:
    """Index of the phase of a step (from 1), by the last step of each."""
    return next(index for index, end in enumerate(ends) if step <= end)
