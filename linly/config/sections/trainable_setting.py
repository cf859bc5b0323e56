"""Which parameters a recipe trains: all, the input embedding, new tokens' rows, or LoRA."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
)

from linly.config.yaml.json_forms import ALLOWED, JsonSchema
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
    describe,
    found,
    problem,
    suggestion,
    unknown,
)


class Lora(Model):
    """Low-rank updates of linear layers (arXiv 2106.09685); the defaults are Chinese-LLaMA's.

    Attributes:
        rank: Rank of each update.
        alpha: Scale of the updates, which are multiplied by alpha / rank.
        dropout: Dropout probability of the updates' inputs.
        targets: Names of the linear layers, the same in every block.
        also: Modules trained in full alongside the LoRA matrices.
    """

    rank: Annotated[Count, at_most(1 << 16, "no layer is wider")] = 8
    alpha: Annotated[
        Number,
        at_least(1e-6, "a smaller factor leaves nothing of an addition in BF16"),
        at_most(1e6, "a larger factor overflows"),
    ] = 32.0
    dropout: Annotated[Fraction, Field(lt=1)] = 0.05
    targets: Annotated[tuple[Text, ...], Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    also: tuple[Literal["embed_tokens", "lm_head"], ...] = ()


class NewRows(Model):
    """The rows of tokens that `linly model extend` added, in input embedding and output layer.

    Attributes:
        head: Rows of the output layer that train: the `new` ones, or `all` (EEVE, arXiv
            2402.14714).
    """

    head: Literal["new", "all"] = "new"


class Trainable(Model):
    """Trainable parameters: all, the input embedding, new rows, or LoRA; the rest is frozen.

    Attributes:
        kind: Choice of parameters. `embeddings` trains embed_tokens (stage 1 of Chinese-LLaMA); an
            untied output layer stays frozen, a tied one changes with the embedding. `new_rows`
            trains the rows of added tokens in both.
        lora: LoRA settings, for the kind `lora` only.
        new_rows: Settings of the kind `new_rows` only.
    """

    kind: Literal["full", "embeddings", "new_rows", "lora"] = "full"
    lora: Lora | None = None
    new_rows: NewRows | None = None

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Describe the forms that `parse_trainable` spells out, in place of the fields."""
        forms = [
            {
                "type": "object",
                "properties": {key: schema["properties"][key]["anyOf"][0]},
                "required": [key],
                "additionalProperties": False,
            }
            for key in _MAPPINGS
        ]
        return {
            "anyOf": [{"enum": list(_NAMES)}, *forms],
            ALLOWED: "`full`, `embeddings`, `new_rows`, `{new_rows: ...}`, or `{lora: ...}`",
        }


_NAMES = ("full", "embeddings", "new_rows")
_MAPPINGS = {
    "lora": "a mapping such as {rank: 8, also: [embed_tokens]}",
    "new_rows": "a mapping such as {head: all}",
}


def parse_trainable(value: Any) -> Any:
    """Spell out `embeddings` as {kind: embeddings} and {lora: ...} as {kind: lora, lora: ...}."""
    if isinstance(value, Trainable):
        return value
    if isinstance(value, dict):
        for key in value:
            if key not in _MAPPINGS:
                raise problem(unknown("key", str(key), _MAPPINGS), "trainable", key)
        if len(value) != 1:
            raise problem(found(value, f"one of {', '.join(_MAPPINGS)}"), "trainable")
        ((kind, settings),) = value.items()
        if not isinstance(settings, dict):
            raise problem(found(settings, _MAPPINGS[kind]), "trainable", kind)
        return {"kind": kind, kind: settings}
    if value not in _NAMES:
        near = suggestion(value, _NAMES) if isinstance(value, str) else ""
        allowed = (
            "full, embeddings, new_rows, {new_rows: {head: all}}, or "
            "{lora: {rank: 8, alpha: 32, targets: [q_proj, ...]}}"
        )
        raise problem(f"found {describe(value)}{near or ','} allowed: {allowed}", "trainable")
    return {"kind": value} | ({"new_rows": {}} if value == "new_rows" else {})


def describe_trainable(trainable: Trainable) -> str:
    """Return a choice in words: `new_rows, and the old rows of the head`."""
    trains_head = trainable.new_rows is not None and trainable.new_rows.head == "all"
    return trainable.kind + (", and the old rows of the head" if trains_head else "")


def format_trainable(trainable: Trainable) -> str | dict[str, Any]:
    """Return the short form, which `parse_trainable` spells out."""
    if trainable.lora is not None:
        return {"lora": trainable.lora.file_form()}
    if trainable.new_rows is not None and trainable.new_rows != NewRows():
        return {"new_rows": trainable.new_rows.file_form()}
    return trainable.kind
