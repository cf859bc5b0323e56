"""Check that a model folder can be trained with a recipe, for both `check` and training.

The check reads only the configuration and the headers of the files, before any weight.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError
from linly.modeling.parameters import ParameterCount
from linly.modeling.parts.new_rows import read_new_rows
from linly.modeling.parts.parts_check import check_parts, needs_new_rows
from linly.modeling.positions import FIXED_KEY, position_limits
from linly.modeling.stored.configuration import check_vocabulary
from linly.modeling.stored.empty_model import model_of_folder
from linly.modeling.stored.stored_model import StoredModel, open_stored_model
from linly.modeling.trainable import count_trained, make_trainable
from linly.modeling.tried_families import TRIED
from linly.modeling.vocabulary import Role, vocabulary_tensors
from linly.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SuitableModel:
    """A model folder that can be trained.

    Attributes:
        stored: The folder without its weights; its model includes LoRA's matrices.
        parameters: Number of parameters that train in any phase, and of all.
        new_rows: Ids of the tokens that were added to the model; None without a record or any.
        notes: Warnings that do not prevent a run, one line each.
    """

    stored: StoredModel
    parameters: ParameterCount
    new_rows: range | None
    notes: tuple[str, ...]


def examine_model(
    path: Path, tokenizer: Tokenizer, training: TrainingSettings, *, sequence_length: int
) -> SuitableModel:
    """Check that a model can be trained.

    Args:
        path: The model folder.
        tokenizer: Its vocabulary.
        training: Training settings of the recipe.
        sequence_length: Tokens of a row.

    Raises:
        ConfigError: If it cannot, with the reason and the cure.
    """
    stored = open_stored_model(path)
    check_vocabulary(stored.config, tokenizer)
    notes = [*stored.notes, *_beyond_positions(stored, sequence_length)]
    if stored.config.model_type not in TRIED:
        notes.append(
            f"models of type {stored.config.model_type} are not among the tested families "
            f"(docs/families.md); compare an export's logits before a long run"
        )
    has_checkpointing = bool(getattr(stored.model, "supports_gradient_checkpointing", False))
    if training.activation_checkpointing != "none" and not has_checkpointing:
        raise ConfigError(
            f"training.activation_checkpointing: found {training.activation_checkpointing}, which "
            f"{stored.config.model_type} models do not support; allowed here: none"
        )
    make_trainable(stored.model, training.optimized, seed=0)
    parameters = count_trained(stored.model)
    if not parameters.trained:
        raise ConfigError(
            f"training.trainable: {training.optimized.kind} trains none of the parameters of a "
            f"{stored.config.model_type} model; use full"
        )
    new_rows = read_new_rows(path, tokenizer)
    check_parts(path, stored.model, training, new_rows)
    if key := needs_new_rows(training):
        _check_no_other_rows(key, stored)
    return SuitableModel(stored, parameters, new_rows, tuple(notes))


def _check_no_other_rows(key: str, stored: StoredModel) -> None:
    """Refuse to train new rows of a model that has some outside its embedding and output layer."""
    others = [n for n, r in vocabulary_tensors(stored).roles.items() if r is Role.layer_input]
    if others:
        raise ConfigError(
            f"{key}: in a {stored.config.model_type} model {', '.join(sorted(others))} has rows of "
            "tokens as well, which would stay frozen; use full"
        )


def _beyond_positions(stored: StoredModel, sequence_length: int) -> list[str]:
    """Note for rows that are longer than the positions a model was made for.

    Raises:
        ConfigError: If the model cannot represent later positions.
    """
    positions = position_limits(stored.config)
    if not positions or sequence_length <= min(positions.values()):
        return []
    key, limit = min(positions.items(), key=lambda item: item[1])
    found = (
        f"data.sequence_length: found {sequence_length:,}, but the model was made for {limit:,} "
        f"positions ({key} of config.json)"
    )
    if key == FIXED_KEY or _has_table(stored, positions):
        raise ConfigError(f"{found} and has no others; use at most {limit:,}")
    return [f"{found}; later positions are new to it: use at most {limit:,}, or scale its RoPE"]


def _has_table(stored: StoredModel, positions: dict[str, int]) -> bool:
    """Whether a tensor has one row per position, found by creating a model with one more."""
    changed = copy.deepcopy(stored.config)
    for key, limit in positions.items():
        setattr(changed, key, limit + 1)
    before = _shapes(model_of_folder(stored.path, stored.config))
    after = _shapes(model_of_folder(stored.path, changed))
    return any(before[name] != after[name] for name in before.keys() & after.keys())


def _shapes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Shapes of weights and buffers, except sinusoids that a model lengthens by itself."""
    lengthened = {name for name, module in model.named_modules() if hasattr(module, "make_weights")}
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {
        name: tuple(tensor.shape)
        for name, tensor in tensors
        if name.rpartition(".")[0] not in lengthened
    }
