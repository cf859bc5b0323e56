"""Section `training` of a recipe: the optimizer and a training step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    model_validator,
)

from linly.config.sections.average_setting import WeightAveraging
from linly.config.sections.phases_setting import LrScale, Phases, check_phases
from linly.config.sections.schedule_setting import ScheduleSettings
from linly.config.sections.trainable_setting import Trainable, format_trainable, parse_trainable
from linly.config.yaml.json_forms import ALLOWED, JsonSchema
from linly.config.yaml.quantities import (
    Count,
    Number,
    Seconds,
    Switch,
    at_least,
    at_most,
)
from linly.config.yaml.strict_model import (
    OnResume,
    found,
    problem,
)

OptimizerName = Literal["adamw"]

MAX_BUFFER = (1 << 31) - 1
"""Size of the largest communication buffer, in elements."""

_Beta = Annotated[
    Number, Field(ge=0), at_most(0.999999, "a moment nearer to 1 never leaves 0 within a run")
]
_Buffer = Annotated[Count, at_most(MAX_BUFFER, "a buffer of this many numbers is allocated")]


def _even(value: int) -> int:
    if value % 2:
        allowed = "an even number: each rank's part begins at a multiple of four bytes"
        raise problem(found(value, allowed))
    return value


_EvenBuffer = Annotated[_Buffer, AfterValidator(_even)]


def _activation_checkpointing(value: Any) -> Any:
    """Spell out `true` as full and `false` as none."""
    return {True: "full", False: "none"}[value] if isinstance(value, bool) else value


class TrainingSettings(ScheduleSettings):
    """Settings of the optimizer and of a training step.

    Attributes:
        optimizer: Optimizer, sharded over the ranks.
        weight_decay: Decoupled weight decay; norms and biases have none.
        betas: Decay rates of AdamW's first and second moment.
        eps: Term that AdamW adds to the denominator.
        clip: Norm to which a step's gradient is clipped.
        micro_batch: Rows that a rank computes at once.
        trainable: Trainable parameters; the rest of the model is frozen.
        phases: Parts of the run that train different parameters, in place of `trainable`.
        lr_scale: Factors of the learning rate by part of the model.
        activation_checkpointing: Activations recomputed in backward to save memory: `full` (all
            but each layer's input), `selective` (the wide matrix products and cheap operations) or
            `none`. `true` and `false` mean full and none.
        attention_backend: Implementation of attention within documents; `auto` takes the fastest
            that the device has.
        loss: Implementation of the loss; `plain` computes all logits at once, the others in parts.
        compile: Whether torch.compile compiles each layer of the model, at its first step.
        reduce_bucket_size: Gradient elements reduced over ranks at once.
        allgather_bucket_size: Weight elements gathered from ranks at once.
        collective_timeout_s: Seconds to wait for a rank before the job ends, naming the rank.
        deepspeed: Content of the JSON file with DeepSpeed settings, merged over the recipe's.
        average: Averaged weights, evaluated, saved and exported beside the last ones. A resume may
            add, change or remove it; one that is added or changed begins at the resumed step.
    """

    optimizer: Annotated[OptimizerName, OnResume.REFUSED] = "adamw"
    weight_decay: Annotated[
        Number, Field(ge=0), at_most(10, "a step would take away whole weights"), OnResume.RECORDED
    ] = 0.01
    betas: Annotated[tuple[_Beta, _Beta], OnResume.RECORDED] = (0.9, 0.95)
    eps: Annotated[
        Number,
        at_least(1e-20, "a smaller one is lost in fp32, and a gradient of 0 is divided by 0"),
        at_most(1, "it would outweigh every gradient, and nothing would be learned"),
        OnResume.RECORDED,
    ] = 1e-8
    clip: Annotated[
        Number,
        at_least(1e-4, "gradients clipped to less vanish next to training.eps"),
        at_most(1e30, "gradients are fp32; leave it at this value to clip none"),
        OnResume.RECORDED,
    ] = 1.0
    micro_batch: Annotated[Count, OnResume.FREE] = 4
    trainable: Annotated[Trainable, PlainSerializer(format_trainable), OnResume.REFUSED] = (
        Trainable()
    )
    phases: Annotated[Phases, OnResume.REFUSED] = ()
    lr_scale: Annotated[LrScale, OnResume.RECORDED] = LrScale()
    activation_checkpointing: Annotated[Literal["full", "selective", "none"], OnResume.FREE] = (
        "full"
    )
    attention_backend: Annotated[
        Literal["auto", "sdpa", "flex", "varlen", "eager"], OnResume.FREE
    ] = "auto"
    loss: Annotated[Literal["auto", "plain", "chunked", "liger"], OnResume.FREE] = "auto"
    compile: Annotated[Switch, OnResume.FREE] = False
    reduce_bucket_size: Annotated[_Buffer, OnResume.FREE] = 200_000_000
    allgather_bucket_size: Annotated[_EvenBuffer, OnResume.FREE] = 200_000_000
    collective_timeout_s: Annotated[
        Seconds, at_least(1, "a shorter wait ends runs in which every rank comes"), OnResume.FREE
    ] = 1800.0
    deepspeed: Annotated[dict[str, Any] | None, OnResume.RECORDED] = None
    average: Annotated[WeightAveraging | None, OnResume.RECORDED] = None

    @model_validator(mode="after")
    def _check_phases(self) -> TrainingSettings:
        if self.phases and self.trainable != Trainable():
            text = "found together with training.phases, which choose it: remove one of the two"
            raise problem(text, "trainable")
        check_phases(self.phases)
        return self

    @property
    def optimized(self) -> Trainable:
        """Choice that includes the parameters of every phase; `trainable` without phases."""
        if not self.phases:
            return self.trainable
        order = ("embeddings", "new_rows", "full")
        return max((phase.trainable for phase in self.phases), key=lambda t: order.index(t.kind))

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Add the short forms."""
        keys = schema["properties"]
        keys["activation_checkpointing"]["enum"] += [True, False]
        keys["deepspeed"]["anyOf"].append({"type": "string", "minLength": 1})
        keys["deepspeed"][ALLOWED] = "path of a JSON file, or its content"
        return schema

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Spell out the short forms."""
        forms = {
            "trainable": parse_trainable,
            "activation_checkpointing": _activation_checkpointing,
        }
        return value | {key: form(value[key]) for key, form in forms.items() if key in value}


def saved_choice(form: Mapping[str, Any]) -> Trainable:
    """Read `TrainingSettings.optimized` from the file form that a checkpoint holds."""
    keys = {key: form[key] for key in ("trainable", "phases") if key in form}
    return TrainingSettings.model_validate(keys).optimized


def with_micro_batch(value: dict[str, Any]) -> dict[str, Any]:
    """Lower the default micro-batch to a divisor of the given global batch."""
    data, training = value.get("data"), value.get("training", {})
    batch = data.get("global_batch") if isinstance(data, dict) else None
    is_given = not isinstance(training, dict) or "micro_batch" in training
    if is_given or type(batch) is not int or batch < 1:
        return value
    usual = TrainingSettings.model_fields["micro_batch"].default
    return {**value, "training": {"micro_batch": math.gcd(batch, usual), **training}}
