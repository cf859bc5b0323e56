"""How many of a model's parameters train, told from the shapes in its safetensors files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from linly.config.model import unknown
from linly.config.settings import Trainable
from linly.errors import ConfigError

EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight")
OUTPUTS = ("lm_head.weight", "embed_out.weight")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Parameters that train, of all; LoRA's own count among both."""

    trained: int
    total: int

    def __str__(self) -> str:
        """`417,603,584 of 6,893,875,200 parameters (6.06%)`."""
        return f"{self.trained:,} of {self.total:,} parameters ({self.trained / self.total:.2%})"


def count_model(model: Path, trainable: Trainable) -> ParameterCount:
    """Count what trains of a model folder, by the heads of its safetensors files.

    Raises:
        ConfigError: As `count_parameters`.
    """
    return count_parameters(read_shapes(model), trainable)


def read_shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model folder, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                shapes[name] = tuple(tensors.get_slice(name).get_shape())
    return shapes


def count_parameters(shapes: Shapes, trainable: Trainable) -> ParameterCount:
    """Count what trains.

    Args:
        shapes: Of the model's tensors; a tied output layer is not among them.
        trainable: What the recipe chooses.

    Raises:
        ConfigError: LoRA is to be put into a layer that the model does not have.
    """
    total = sum(map(math.prod, shapes.values()))
    if trainable.kind == "full":
        return ParameterCount(total, total)
    lora = trainable.lora
    chosen = ("embed_tokens",) if lora is None else lora.also
    whole = {name for kind in chosen for name in _whole(shapes, kind)}
    added = 0
    if lora is not None:
        layers = linear_layers(shapes)
        check_targets(lora.targets, layers)
        added = sum(
            lora.rank * sum(shapes[f"{layer}.weight"])
            for layer in layers
            if layer.rpartition(".")[2] in lora.targets
        )
    return ParameterCount(added + sum(math.prod(shapes[name]) for name in whole), total + added)


def linear_layers(shapes: Shapes) -> list[str]:
    """Names of the layers that multiply by a matrix, but the embedding and the output layer."""
    return [
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if len(shape) == 2 and name.endswith(".weight") and name not in (*EMBEDDINGS, *OUTPUTS)
    ]


def check_targets(targets: tuple[str, ...], layers: list[str]) -> None:
    """Refuse a target of LoRA that no layer is called.

    Raises:
        ConfigError: With the nearest name and all that there are.
    """
    names = {layer.rpartition(".")[2] for layer in layers}
    for target in targets:
        if target not in names:
            text = unknown("linear layer of the model", target, names)
            raise ConfigError(f"training.trainable.lora.targets: {text}")


def _whole(shapes: Shapes, kind: str) -> set[str]:
    """The embedding or the output layer, which is the embedding where it is tied."""
    outputs = {name for name in OUTPUTS if name in shapes}
    if kind == "lm_head" and outputs:
        return outputs
    return {name for name in EMBEDDINGS if name in shapes}
