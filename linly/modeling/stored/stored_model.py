"""Model folder without its weights: the model on the meta device, and the key of each tensor.

The model is loaded on the meta device by the code that loads its weights, so the same folders are
refused as in training, and only the headers of the files are read. The exception is an output layer
that is stored in addition to the embedding it should be tied to: the two are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.utils import logging as transformers_logging

from linly.errors import ConfigError
from linly.modeling.stored.configuration import PLAIN_DTYPES, read_configuration
from linly.modeling.stored.empty_model import first_line, model_of_folder
from linly.modeling.stored.tensor_files import TensorFile
from linly.modeling.stored.weight_files import (
    StoredTensor,
    read_json_object,
    stored_tensors,
    weight_path,
)

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model folder without its weights.

    Attributes:
        path: The folder.
        config: Configuration with which the weights are loaded, corrected by the files.
        model: The model on the meta device.
        tensors: Stored tensors by their names in the files.
        keys: Name in the model's state_dict by the name in the files; without the tensors that
            are not part of the model.
        is_untied: Whether the files hold a separate output layer, contrary to config.json.
        notes: Contradictions between the files and config.json, one line each.
    """

    path: Path
    config: PretrainedConfig
    model: PreTrainedModel
    tensors: Mapping[str, StoredTensor]
    keys: Mapping[str, str]
    is_untied: bool
    notes: tuple[str, ...]


def open_stored_model(path: Path) -> StoredModel:
    """Read a model folder's configuration and the headers of its files.

    Raises:
        ConfigError: If it does not hold a text decoder in safetensors, if its weights are quantized
            or damaged, or if one is missing or has another shape.
    """
    config = read_configuration(path)
    tensors = stored_tensors(path)
    empty = model_of_folder(path, config)
    keys = _keys(empty, tensors)
    _check_dtypes(path, empty, tensors, keys)
    notes = []
    untied = _untied(path, empty, tensors, keys)
    if untied is not None:
        config.tie_word_embeddings = False
        notes.append(untied)
    if read_json_object(path / "config.json").get("quantization_config") is not None:
        notes.append("config.json says that the weights are quantized, but they are not: ignored")
    left_out = sorted(name for name in tensors.keys() - keys.keys() if name.endswith("weight"))
    if left_out:
        notes.append(
            f"{len(left_out):,} stored tensors are not part of a {config.model_type} model and are "
            f"not trained or exported: {_listed(left_out)}"
        )
    model = read_weights(path, config, device="meta")
    return StoredModel(path, config, model, tensors, keys, untied is not None, tuple(notes))


def read_weights(
    path: Path,
    config: PretrainedConfig,
    *,
    dtype: torch.dtype | None = None,
    device: str | None = None,
) -> PreTrainedModel:
    """Load a folder's model with its weights; no row of an embedding is frozen.

    Args:
        path: The model folder.
        config: Its configuration, corrected by `open_stored_model`.
        dtype: Dtype of the weights in memory; None keeps the stored one.
        device: "meta" for a model without weights; None maps them from their files.

    Raises:
        ConfigError: If weights are missing, or their shapes do not match the configuration.
    """
    try:
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(path.resolve()),
                config=config,
                dtype="auto" if dtype is None else dtype,
                device_map=device,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:
        raise ConfigError(f"model {path}: cannot be loaded: {first_line(error)}") from error
    model, info = loaded
    assert isinstance(model, PreTrainedModel)
    for kind in ("missing_keys", "mismatched_keys"):
        if info[kind]:
            names = [each if isinstance(each, str) else str(each[0]) for each in info[kind]]
            raise ConfigError(
                f"model {path}: {len(names)} {kind.replace('_', ' ')}: {_listed(sorted(names))}; "
                f"{_cure(model, kind, names)}"
            )
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None  # otherwise its row would get no gradient
    return model


def _keys(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """state_dict key of each stored tensor: published files have other prefixes and names."""
    state = model.state_dict()
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    prefix = model.base_model_prefix
    keys = {}
    for name in tensors:
        key, _ = rename_source_key(name, renamings, converters, prefix, state)
        if key not in state:
            key, _ = rename_source_key(name, [], [], prefix, state)
        if key in state:
            keys[name] = key
    return keys


def _check_dtypes(
    path: Path,
    model: PreTrainedModel,
    tensors: Mapping[str, StoredTensor],
    keys: Mapping[str, str],
) -> None:
    weights = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, key in keys.items():
        if key in weights and tensors[name].dtype not in PLAIN_DTYPES:
            raise ConfigError(
                f"model {path}: {name} is stored as {tensors[name].dtype}, allowed: "
                f"{', '.join(PLAIN_DTYPES)}; use the model in BF16, or dequantize it first"
            )


def _untied(
    path: Path,
    model: PreTrainedModel,
    tensors: Mapping[str, StoredTensor],
    keys: Mapping[str, str],
) -> str | None:
    """Note on weights that the configuration ties but the files store with different values."""
    stored = {key: name for name, key in keys.items()}
    for target, source in model.all_tied_weights_keys.items():
        first, second = stored.get(source), stored.get(target)
        if first and second and not _are_equal(path, first, second, tensors):
            return (
                f"config.json ties {second} to {first}, but their values in the files differ: "
                f"{second} is loaded as a separate layer (tie_word_embeddings: false)"
            )
    return None


def _are_equal(path: Path, left: str, right: str, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether two stored tensors have the same bytes."""
    first, second = tensors[left], tensors[right]
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    with (
        TensorFile(weight_path(path, first.file)) as left_file,
        TensorFile(weight_path(path, second.file)) as right_file,
    ):
        entries = (left_file.entries[left], right_file.entries[right])
        return all(
            one == other
            for one, other in zip(
                left_file.chunks(entries[0].start, entries[0].num_bytes),
                right_file.chunks(entries[1].start, entries[1].num_bytes),
                strict=True,
            )
        )


def _cure(model: PreTrainedModel, kind: str, names: list[str]) -> str:
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    heads = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if output is not None and parameter is getattr(output, "weight", None)
    }
    if kind == "missing_keys" and set(names) <= heads:
        return (
            "if the output layer is the embedding, set tie_word_embeddings: true in config.json; "
            "otherwise use a model that has one"
        )
    return "the files do not match config.json; take both from the original model"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' report and progress bar of a load; our errors and notes say it."""
    level = transformers_logging.get_verbosity()
    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shows_progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
