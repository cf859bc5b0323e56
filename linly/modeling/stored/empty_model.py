"""Models without memory for their weights: on the meta device, from a configuration alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from linly.errors import ConfigError


def empty_model(config: Any, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Create a model without memory for its weights (on the meta device).

    Args:
        config: Configuration of the model; not changed.
        dtype: Dtype of the weights; None for that of the configuration.
    """
    options = {} if dtype is None else {"dtype": dtype}
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            copy.deepcopy(config), trust_remote_code=False, **options
        )
    return model


def model_of_folder(path: Path, config: PretrainedConfig) -> PreTrainedModel:
    """Create the model of a folder's configuration on the meta device.

    Raises:
        ConfigError: If transformers cannot create it.
    """
    try:
        return empty_model(config)
    except Exception as error:
        raise ConfigError(
            f"model {path}: transformers cannot create the {config.model_type} model of "
            f"config.json: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's text; its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
