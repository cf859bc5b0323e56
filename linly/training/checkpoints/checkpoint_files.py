"""Reading a verified checkpoint, one tensor at a time; its manifest names each tensor's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import safe_open

from linly.errors import CheckpointError
from linly.training.engine.weight_average import AVERAGE

STATE = "state.json"

BUFFER = "buffer."
"""Prefix of the model's buffers in the first rank's file."""

_BUFFERS_FILE = "rank-00000.safetensors"


def read_state(folder: Path) -> dict[str, Any]:
    """The state that was passed to `Checkpoints`, from a verified checkpoint."""
    state: dict[str, Any] = orjson.loads((folder / STATE).read_bytes())
    return state


def read_parameter(path: Path, name: str, state_keys: Sequence[str]) -> dict[str, torch.Tensor]:
    """Master weight, moments and averages of one parameter in a rank's file, fp32 on the CPU.

    Raises:
        CheckpointError: If they are those of another optimizer, or an average is missing.
    """
    with safe_open(path, framework="pt") as file:
        missing = sorted({f"{key}.{name}" for key in state_keys} - set(file.keys()))
        if missing and missing[0].startswith(AVERAGE):
            raise CheckpointError(f"{path}: has no {missing[0]}, which state.json names")
        if missing:
            raise CheckpointError(
                f"{path}: has no {missing[0]}: the checkpoint is of a run with another "
                f"training.optimizer; start another run from an export of it"
            )
        return {key: file.get_tensor(f"{key}.{name}") for key in state_keys}


def read_master_weight(path: Path, name: str, key: str = "master") -> torch.Tensor:
    """Master weight of one parameter in a rank's file, fp32 on the CPU.

    Args:
        path: The rank's file.
        name: Name of the parameter.
        key: `master`, or AVERAGE for the averaged weight.
    """
    with safe_open(path, framework="pt") as file:
        weight: torch.Tensor = file.get_tensor(f"{key}.{name}")
    return weight


def named_buffers(buffers: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's buffers, with their names in the first rank's file."""
    return {f"{BUFFER}{name}": buffer for name, buffer in buffers.items()}


def read_buffers(folder: Path) -> dict[str, torch.Tensor]:
    """The model's persistent buffers by name, on the CPU, as they were stored."""
    with safe_open(folder / _BUFFERS_FILE, framework="pt") as file:
        keys = [key for key in file.keys() if key.startswith(BUFFER)]  # noqa: SIM118
        return {key.removeprefix(BUFFER): file.get_tensor(key) for key in keys}
