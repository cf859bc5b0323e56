"""The sections of a recipe: data, training, checkpoint, evaluation, guards, alarms, wandb."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from linly.config.model import Model, found, problem
from linly.config.overrides import escape_variables
from linly.config.quantities import (
    Count,
    CountOrZero,
    Fraction,
    Number,
    Positive,
    Switch,
    Text,
    format_fraction,
)

SECTIONS = ("data", "training", "checkpoint", "evaluation", "guards", "alarms", "wandb")
_FRACTIONS = ("warmup", "final_lr", "loss_rise", "forgetting", "data_wait", "quarantine")


def settings_form(settings: Model) -> dict[str, Any]:
    """As a section would be written in a recipe file."""
    form = settings.model_dump()
    for key, value in form.items():
        if key in _FRACTIONS:
            form[key] = format_fraction(value)
        elif isinstance(value, str):
            form[key] = escape_variables(value)
        elif isinstance(value, tuple):
            form[key] = [escape_variables(v) if isinstance(v, str) else v for v in value]
    return form


_MIN_SEQUENCE_LENGTH = 8
_Beta = Annotated[float, Strict(), Field(ge=0, lt=1)]


class DataSettings(Model):
    """How documents become global batches.

    Attributes:
        sequence_length: Positions of a row.
        global_batch: Rows of a step, over all ranks.
        seed: Of every shuffle.
        attention: Within each document, or over the full row.
        producers: Processes that tokenize; 0 does it in the process that mixes.
        prefetch_rows: Made ahead of training, at most.
        timeout_s: Without a row for so long, training stops and names the source.
    """

    sequence_length: Annotated[int, Strict(), Field(ge=_MIN_SEQUENCE_LENGTH, le=1 << 20)] = 2048
    global_batch: Count = 512
    seed: CountOrZero = 2023
    attention: Literal["document", "full"] = "document"
    producers: CountOrZero = 1
    prefetch_rows: Count = 256
    timeout_s: Positive = 300.0


class TrainingSettings(Model):
    """The optimizer and how a step is made.

    Attributes:
        lr: Peak learning rate.
        warmup: Fraction of the steps with a linear rise.
        final_lr: Fraction of `lr` at the end of the cosine.
        clip: Largest norm of a step's gradient.
        micro_batch: Rows that a rank computes at once.
    """

    lr: Positive = 5e-5
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Fraction = 0.01
    final_lr: Fraction = 0.1
    weight_decay: Annotated[float, Strict(), Field(ge=0)] = 0.01
    betas: tuple[_Beta, _Beta] = (0.9, 0.95)
    eps: Positive = 1e-8
    clip: Positive = 1.0
    micro_batch: Count = 4
    trainable: Literal["full"] = "full"
    activation_checkpointing: Switch = True


class CheckpointSettings(Model):
    """When the state is saved and what is kept (in steps)."""

    every: Count = 200
    keep_last: Count = 3
    keep_every: Count | None = 1000

    @model_validator(mode="after")
    def _check_keep_every(self) -> CheckpointSettings:
        if self.keep_every is not None and self.keep_every % self.every:
            allowed = f"a multiple of every ({self.every}), or null"
            raise problem(found(self.keep_every, allowed), "keep_every")
        return self


class EvaluationSettings(Model):
    """When held-out documents are measured, how many of each source, and sampled prompts."""

    every: Count = 250
    max_documents: Count = 200
    prompts: tuple[Text, ...] = ()
    max_new_tokens: Count = 64


class GuardSettings(Model):
    """When a step is skipped and when training gives up.

    Attributes:
        spike: A source's loss of more than so many times its usual one is a spike.
        spike_window: Steps looked back on for the usual one.
        max_consecutive_skips: More of them end the run.
    """

    spike: Annotated[Number, Field(gt=1)] = 10.0
    spike_window: Annotated[int, Strict(), Field(ge=2)] = 50
    max_consecutive_skips: Count = 5


class AlarmSettings(Model):
    """When the run calls for a person, in its events, on its pages and by a command.

    Attributes:
        drift: Rows that a source may be off its plan.
        window: Steps that the following are counted over.
        loss_rise: Part by which a source's loss may rise from one window to the next.
        forgetting: Part by which a source's held-out bits per byte may rise above step 0's.
        data_wait: Part of the time that may be spent waiting for rows.
        quarantine: Bad records for each row.
        command: A program and its arguments, run without a shell for every alarm, which it gets as
            JSON on its standard input.
    """

    drift: Positive = 1.0
    window: Annotated[int, Strict(), Field(ge=2)] = 50
    loss_rise: Fraction = 0.1
    forgetting: Fraction = 0.1
    data_wait: Fraction = 0.05
    quarantine: Fraction = 0.1
    command: tuple[Text, ...] = ()


class WandbSettings(Model):
    """Curves at Weights & Biases; a recipe without this section sends nothing.

    Attributes:
        project: Where the run appears.
        entity: Whose project; by default the login's own.
        mode: Offline keeps everything in the run folder, for `wandb sync`.
        name: Of the run there; by default the run folder's.
    """

    project: Text
    entity: Text | None = None
    mode: Literal["online", "offline"] = "online"
    name: Text | None = None
