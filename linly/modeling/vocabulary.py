"""Find the tensors of a stored model that have one row per token.

There is no list of names: the model is created again with one more token, on the meta device, and
the tensors whose shape changed depend on the vocabulary's size. Their roles come from the model's
own accessors of its input and output embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from linly.errors import ConfigError
from linly.modeling.stored.empty_model import model_of_folder
from linly.modeling.stored.stored_model import StoredModel

SIZE_KEYS = ("vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size")
"""Configuration keys that hold a number of tokens."""


class Role(Enum):
    """Role of a tensor with one row per token.

    `layer_input` is an embedding besides the input embedding, such as Gemma-3n's for each layer.
    """

    input = "input embedding"
    layer_input = "embedding of the layers"
    output = "output layer"
    bias = "bias of the output layer"


@dataclass(frozen=True, slots=True)
class VocabularyTensors:
    """Tensors and configuration keys of a model folder that depend on the vocabulary's size.

    Attributes:
        roles: Role of each stored tensor with one row per token, by its name in the files.
        sizes: Number of tokens by its key in config.json.
    """

    roles: Mapping[str, Role]
    sizes: Mapping[str, int]


def vocabulary_tensors(stored: StoredModel) -> VocabularyTensors:
    """Find the tensors of a model folder that grow with its vocabulary.

    Raises:
        ConfigError: If one is neither an embedding nor the output layer, or the input embedding is
            not among them.
    """
    sizes = _sizes(stored.config)
    model = stored.model
    larger = {key: rows + 1 for key, rows in sizes.items()}
    grown = model_of_folder(stored.path, _with_sizes(stored.config, larger))
    before, after = model.state_dict(), grown.state_dict()
    changed = {key for key in before if before[key].shape != after[key].shape}
    roles = _roles(stored, model, changed)
    found = {name: roles[key] for name, key in stored.keys.items() if key in changed}
    if Role.input not in found.values():
        raise ConfigError(
            f"model {stored.path}: the input embedding of {stored.config.model_type} does not have "
            f"one row per token, so its vocabulary cannot be extended"
        )
    return VocabularyTensors(found, sizes)


def _sizes(config: PretrainedConfig) -> dict[str, int]:
    """Numbers of tokens by their keys in config.json."""
    found = {}
    for key in SIZE_KEYS:
        rows = getattr(config, key, None)
        if isinstance(rows, int):
            found[config.attribute_map.get(key, key)] = rows
    return found


def _with_sizes(config: PretrainedConfig, sizes: Mapping[str, int]) -> PretrainedConfig:
    changed = copy.deepcopy(config)
    for key, rows in sizes.items():
        setattr(changed, key, rows)
    return changed


def _roles(stored: StoredModel, model: PreTrainedModel, changed: set[str]) -> dict[str, Role]:
    """Role of each state_dict key that grows; a tied one has the role of the input."""
    inputs = _parameters(model.get_input_embeddings())
    outputs = _parameters(model.get_output_embeddings())  # type: ignore[no-untyped-call]
    tables = {
        id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)
    }
    roles = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for key in sorted(changed):
        parameter = parameters.get(key)
        if parameter is None:
            raise ConfigError(
                f"model {stored.path}: {key} has one row per token but is not a weight "
                f"({stored.config.model_type}), so a new row cannot be computed as a mean; its "
                f"vocabulary cannot be extended"
            )
        if id(parameter) in inputs:
            roles[key] = Role.input
        elif id(parameter) in outputs:
            roles[key] = Role.output if parameter.dim() > 1 else Role.bias
        elif id(parameter) in tables:
            roles[key] = Role.layer_input
        else:
            raise ConfigError(
                f"model {stored.path}: {key} has one row per token and is neither an embedding nor "
                f"the output layer ({stored.config.model_type}); its vocabulary cannot be extended"
            )
    return roles


def _parameters(module: Any) -> set[int]:
    return set() if module is None else {id(parameter) for parameter in module.parameters()}
