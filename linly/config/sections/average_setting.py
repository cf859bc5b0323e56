"""Setting `training.average`: averaged weights that a run keeps beside the last ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from linly.config.yaml.json_forms import JsonSchema
from linly.config.yaml.quantities import (
    Count,
    Number,
    at_most,
)
from linly.config.yaml.strict_model import (
    Model,
    check_keys,
    found,
    problem,
)

_DEFAULTS: dict[str, dict[str, Any]] = {
    "ema": {"decay": 0.999, "every": 10},
    "window": {"steps": 500, "every": 50},
}
"""Keys of each kind, with their defaults."""


class WeightAveraging(Model):
    """Average of the weights after every n-th step, kept in host memory.

    Attributes:
        kind: Kind of the average. `ema` weighs each sample `decay` times as much as the next one;
            `window` is the plain mean of the samples of the last complete window, and windows are
            counted back from the run's last step.
        every: Steps between samples of the weights (default: 10 with `ema`, 50 with `window`).
        decay: Weight of a sample relative to the next one, for the kind `ema` only
            (default: 0.999).
        steps: Steps of a window, a multiple of `every`, for the kind `window` only (default: 500).
    """

    kind: Literal["ema", "window"]
    every: Count
    decay: (
        Annotated[
            Number,
            Field(gt=0, lt=1),
            at_most(0.999999, "fp32 weights would no longer follow a change"),
        ]
        | None
    ) = None
    steps: Count | None = None

    @property
    def num_copies(self) -> int:
        """Number of fp32 copies of the trained weights, over all ranks and in a checkpoint."""
        return 1 if self.kind == "ema" else 2

    @property
    def span_steps(self) -> int:
        """Steps after which a run has its first average, at the latest."""
        return self.every if self.steps is None else self.steps

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Require the kind only; the others have defaults by kind."""
        return schema | {"required": ["kind"]}

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Add the defaults of the kind, and refuse the other kind's keys."""
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in _DEFAULTS:
            return {"every": 1, **value}  # the kind itself is refused
        check_keys(value, ("kind", *_DEFAULTS[kind]))
        return {**_DEFAULTS[kind], **value}

    @model_validator(mode="after")
    def _check_window(self) -> WeightAveraging:
        if self.steps is not None and self.steps % self.every:
            allowed = f"a multiple of every, which is {self.every:,}"
            raise problem(found(self.steps, allowed), "steps")
        return self

    @model_serializer(mode="wrap")
    def _without_the_other_kind_s(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}

    def __str__(self) -> str:
        """`ema of decay 0.999 every 10 steps` or `window of 500 steps, every 50`."""
        if self.kind == "ema":
            return f"ema of decay {self.decay} every {self.every} steps"
        return f"window of {self.steps} steps, every {self.every}"
