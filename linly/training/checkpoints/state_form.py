"""Schema of a checkpoint's state.json, checked before a run loads anything from it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from linly.config.sections.average_setting import WeightAveraging
from linly.config.sections.training_section import saved_choice
from linly.data.mixing.state import Identity, MixerState
from linly.errors import CheckpointError
from linly.records.task_record import parse_tasks

STATE_VERSION = 2

_Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_Counts = dict[str, _Count]


class _Form(BaseModel):
    """Strict JSON types; unknown keys, which a later version may add, are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class _Guards(_Form):
    windows: dict[str, list[float]]
    consecutive: _Count
    total: _Count


class _NewPieces(_Form):
    first: _Count
    num_pieces: _Count
    seen: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    num_new: _Count
    num_tokens: _Count

    @model_validator(mode="after")
    def _check_seen(self) -> _NewPieces:
        if len(self.seen) != 2 * ((self.num_pieces + 7) // 8):
            raise ValueError(f"found {len(self.seen)} digits for {self.num_pieces} pieces")
        return self


class _RunCounts(_Form):
    rows: _Counts
    supervised: _Counts
    padding: _Counts
    epochs: _Counts
    segment_from: _Count
    rows_before: _Counts
    largest_drift: float
    tokens_seen: _Count
    new_pieces: _NewPieces | None

    @model_validator(mode="after")
    def _check_sources(self) -> _RunCounts:
        if not self.rows.keys() == self.supervised.keys() == self.padding.keys():
            raise ValueError("rows, supervised and padding count different sources")
        if self.rows.keys() != self.epochs.keys():
            raise ValueError("rows and epochs count different sources")
        return self


class _Result(_Form):
    language: str
    kind: str
    documents: _Count
    loss: float | None
    bits_per_byte: float | None
    tokens: _Count
    bytes: _Count


class _Corpus(_Form):
    language: str


class _Curriculum(_Form):
    name: str


class _Batch(_Form):
    global_batch: Annotated[int, Field(ge=1)]


class _Training(_Form):
    trainable: Any
    phases: Any = ()

    @model_validator(mode="after")
    def _check_choice(self) -> _Training:
        saved_choice({"trainable": self.trainable, "phases": self.phases})
        return self


class _Recipe(_Form):
    model: str | None
    curriculum: _Curriculum
    corpora: dict[str, _Corpus]
    data: _Batch
    training: _Training


class _SampledSteps(_Form):
    samples: _Count
    first_step: _Count
    last_step: _Count


class _Average(_Form):
    settings: dict[str, Any]
    num_steps: _Count
    running: _SampledSteps
    complete: _SampledSteps

    @model_validator(mode="after")
    def _check_settings(self) -> _Average:
        WeightAveraging.model_validate(self.settings)
        return self


class _AverageResult(_SampledSteps):
    sources: dict[str, _Result]


class _State(_Form):
    step: _Count
    optimizer_steps: _Count
    part_steps: _Counts | None = None
    phase: _Count = 0
    world_size: Annotated[int, Field(ge=1)]
    recipe: _Recipe
    model: dict[str, str]
    data: dict[str, Any]
    guards: _Guards
    books: _RunCounts
    baseline: dict[str, _Result]
    latest: dict[str, _Result]
    tasks_before: dict[str, Any] = {}  # earlier versions have none
    tasks: dict[str, Any] = {}
    evaluated_step: _Count | None
    average: _Average | None = None
    latest_average: _AverageResult | None = None

    @field_validator("tasks_before", "tasks")
    @classmethod
    def _check_tasks(cls, value: dict[str, Any]) -> dict[str, Any]:
        parse_tasks(value)
        return value


def state_problem(data: bytes, *, step: int) -> str | None:
    """Why a run cannot resume from a state.json; None if it can.

    A state of another version is not checked: that version may be able to read it.

    Args:
        data: Content of the file.
        step: Step of the checkpoint.
    """
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return f"not JSON ({error})"
    if not isinstance(content, dict):
        return f"found {type(content).__name__}, expected a JSON object"
    version = content.get("version")
    if type(version) is not int:
        return f"version: found {version!r:.80}, expected a whole number"
    if version != STATE_VERSION:
        return None
    try:
        state = _State.model_validate(content)
        mixer = MixerState.from_json(content["data"], Identity.of_json(state.data.get("identity")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place or 'state'}: {first['msg']}, found {first['input']!r:.80}"
    except CheckpointError as error:
        return f"data: {error}"
    if state.step != step:
        return f"step: found {state.step}, expected {step}"
    if mixer.row != step * state.recipe.data.global_batch:
        return f"data.row: found {mixer.row}, expected {step} steps of a global batch"
    return None
