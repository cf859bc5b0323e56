"""Which tensors of a stored model have a row a token, told by the model itself.

No list of names: the model is made once more with one more token, on the meta device, and the
tensors whose shape changed are those that the vocabulary's size decides. Their roles come from the
model's own accessors of its input and output embeddings.
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
from linly.modeling.stored.stored_model import StoredModel, empty_model

SIZE_KEYS = ("vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size")
"""Keys of configurations that hold a number of tokens."""


class Role(Enum):
    """Part that a tensor with a row a token plays.

    `layer_input` are embeddings beside the input's own, such as Gemma-3n's for each layer.
    """

    input = "input embedding"
    layer_input = "embedding of the layers"
    output = "output layer"
    bias = "bias of the output layer"


@dataclass(frozen=True, slots=True)
class VocabularyTensors:
    """What the size of the vocabulary decides in a model folder.

    Attributes:
        roles: Role of each stored tensor that has a row a token, by its name in the files.
        sizes: Number of tokens by its key in config.json.
    """

    roles: Mapping[str, Role]
    sizes: Mapping[str, int]


def vocabulary_tensors(stored: StoredModel) -> VocabularyTensors:
    """Find the tensors of a model folder that grow with its vocabulary.

    Raises:
        ConfigError: If one has rows of which no mean can be taken, or the input embedding is not
            among them; by name.
    """
    sizes = _sizes(stored.config)
    model = stored.model
    larger = {key: rows + 1 for key, rows in sizes.items()}
    grown = empty_model(stored.path, _with_sizes(stored.config, larger))
    before, after = model.state_dict(), grown.state_dict()
    changed = {key for key in before if before[key].shape != after[key].shape}
    roles = _roles(stored, model, changed)
    found = {name: roles[key] for name, key in stored.keys.items() if key in changed}
    if Role.input not in found.values():
        raise ConfigError(
            f"model {stored.path}: the input embedding of {stored.config.model_type} has no row a "
            f"token, so its vocabulary cannot grow"
        )
    return VocabularyTensors(found, sizes)


def _sizes(config: PretrainedConfig) -> dict[str, int]:
    """Numbers of tokens under the names that config.json has for them."""
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
    """The role of each state_dict key that grows; a tied one plays that of the input."""
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
                f"model {stored.path}: {key} has a row a token that is no weight "
                f"({stored.config.model_type}), so no mean gives one for a new token; its "
                f"vocabulary cannot grow"
            )
        if id(parameter) in inputs:
            roles[key] = Role.input
        elif id(parameter) in outputs:
            roles[key] = Role.output if parameter.dim() > 1 else Role.bias
        elif id(parameter) in tables:
            roles[key] = Role.layer_input
        else:
            raise ConfigError(
                f"model {stored.path}: {key} has a row a token and is neither an embedding nor "
                f"the output layer ({stored.config.model_type}); its vocabulary cannot grow"
            )
    return roles


def _parameters(module: Any) -> set[int]:
    return set() if module is None else {id(parameter) for parameter in module.parameters()}
