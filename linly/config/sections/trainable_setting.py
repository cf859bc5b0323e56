"""Which parameters a recipe trains: all, the input embedding, or LoRA."""

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


class Trainable(Model):
    """Trainable parameters: all, only the input embedding, or LoRA; the rest is frozen.

    Attributes:
        kind: Choice of parameters. `embeddings` trains embed_tokens (stage 1 of Chinese-LLaMA); an
            untied output layer stays frozen, a tied one changes with the embedding.
        lora: LoRA settings, for the kind `lora` only.
    """

    kind: Literal["full", "embeddings", "lora"] = "full"
    lora: Lora | None = None

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Describe the forms that `parse_trainable` spells out, in place of the fields."""
        lora = {
            "type": "object",
            "properties": {"lora": schema["properties"]["lora"]["anyOf"][0]},
            "required": ["lora"],
            "additionalProperties": False,
        }
        return {
            "anyOf": [{"enum": ["full", "embeddings"]}, lora],
            ALLOWED: "`full`, `embeddings`, or `{lora: ...}`",
        }


def parse_trainable(value: Any) -> Any:
    """Spell out `embeddings` as {kind: embeddings} and {lora: ...} as {kind: lora, lora: ...}."""
    if isinstance(value, Trainable):
        return value
    if isinstance(value, dict):
        for key in value:
            if key != "lora":
                raise problem(unknown("key", str(key), ("lora",)), "trainable", key)
        if not isinstance(value.get("lora"), dict):
            text = found(value.get("lora"), "a mapping such as {rank: 8, also: [embed_tokens]}")
            raise problem(text, "trainable", "lora")
        return {"kind": "lora", "lora": value["lora"]}
    names = ("full", "embeddings")
    if value not in names:
        near = suggestion(value, names) if isinstance(value, str) else ""
        allowed = "full, embeddings, or {lora: {rank: 8, alpha: 32, targets: [q_proj, ...]}}"
        raise problem(f"found {describe(value)}{near or ','} allowed: {allowed}", "trainable")
    return {"kind": value}


def format_trainable(trainable: Trainable) -> str | dict[str, Any]:
    """Return the short form, which `parse_trainable` spells out."""
    return trainable.kind if trainable.lora is None else {"lora": trainable.lora.file_form()}
