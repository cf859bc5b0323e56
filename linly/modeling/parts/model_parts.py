"""Parts of a model's parameters, and those that a recipe's choice trains.

    body, embeddings, new_embeddings, head, new_head
    parameter -> its parts, each a range of its elements (rows of a matrix are contiguous)

Rows without a token (padding of the matrix) count as old. A tied output layer is the input
embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from linly.config.sections.phases_setting import LrScale
from linly.config.sections.trainable_setting import Trainable

Part = Literal["body", "embeddings", "new_embeddings", "head", "new_head"]

PARTS: tuple[Part, ...] = ("body", "embeddings", "new_embeddings", "head", "new_head")
"""All parts; `embeddings` and `head` are the old rows, or all if a model has no new ones."""


@dataclass(frozen=True, slots=True)
class PartRange:
    """Elements [start, end) of a flattened tensor that belong to a part."""

    part: Part
    start: int
    end: int


def parameter_parts(
    model: PreTrainedModel, new_rows: range | None
) -> dict[str, tuple[PartRange, ...]]:
    """Parts of every parameter by its name, in order and without gaps; a tied one once.

    Args:
        model: Model; it may be on the meta device.
        new_rows: Ids of the tokens that were added to it.
    """
    inputs = _parameters(model.get_input_embeddings())
    outputs = _parameters(model.get_output_embeddings()) - inputs  # type: ignore[no-untyped-call]
    num_rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    found = {}
    for name, parameter in model.named_parameters():
        old: Part = "body"
        new: Part = "body"
        if parameter in inputs:
            old, new = "embeddings", "new_embeddings"
        elif parameter in outputs:
            old, new = "head", "new_head"
        has_rows = old != "body" and parameter.shape[0] == num_rows
        found[name] = _ranges(parameter, old, new, new_rows if has_rows else None)
    return found


def trained_parts(trainable: Trainable) -> frozenset[Part]:
    """Parts that a choice trains, of the parameters that the optimizer has."""
    match trainable.kind:
        case "full" | "lora":
            return frozenset(PARTS)
        case "embeddings":
            return frozenset(("embeddings", "new_embeddings"))
        case "new_rows":
            new: frozenset[Part] = frozenset(("new_embeddings", "new_head"))
            trains_head = trainable.new_rows is not None and trainable.new_rows.head == "all"
            return new | {"head"} if trains_head else new


def part_scale(part: Part, scale: LrScale) -> float:
    """Factor of the learning rate of a part."""
    if part == "body":
        return 1.0
    if part.startswith("new_") and scale.new_rows is not None:
        return scale.new_rows
    return scale.embeddings if part.endswith("embeddings") else scale.head


def count_elements(model: PreTrainedModel, new_rows: range | None, trainable: Trainable) -> int:
    """Count the elements that a choice trains, of a model that is ready to train."""
    parts = trained_parts(trainable)
    found = parameter_parts(model, new_rows)
    return sum(
        each.end - each.start
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        for each in found[name]
        if each.part in parts
    )


def _ranges(
    parameter: torch.nn.Parameter, old: Part, new: Part, rows: range | None
) -> tuple[PartRange, ...]:
    size = parameter.numel()
    if rows is None:
        return (PartRange(old, 0, size),)
    columns = size // parameter.shape[0]
    first, end = rows.start * columns, rows.stop * columns
    ranges = (PartRange(old, 0, first), PartRange(new, first, end), PartRange(old, end, size))
    return tuple(each for each in ranges if each.start < each.end)


def _parameters(module: Any) -> set[torch.nn.Parameter]:
    return set() if module is None else set(module.parameters())
