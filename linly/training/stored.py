"""Reading a verified checkpoint, one tensor at a time; its manifest says what lies where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import safe_open

from linly.training.manifest import STATE, Manifest

MOMENTS = ("exp_avg", "exp_avg_sq")
"""The optimizer's state of a parameter, each fp32 in the parameter's shape."""

STATE_KEYS = ("master", *MOMENTS)
"""What a checkpoint holds of a parameter; tensors are named `KEY.PARAMETER`."""

_BUFFER = "buffer."
_BUFFERS_FILE = "rank-00000.safetensors"

BYTES_PER_PARAMETER = 4 * len(STATE_KEYS)


def read_state(folder: Path) -> dict[str, Any]:
    """What was given to `Checkpoints.save` for a verified checkpoint."""
    state: dict[str, Any] = orjson.loads((folder / STATE).read_bytes())
    return state


def read_parameter(folder: Path, manifest: Manifest, name: str) -> dict[str, torch.Tensor]:
    """Master weight and moments of one parameter, fp32 on the CPU."""
    with safe_open(folder / manifest.parameters[name], framework="pt") as file:
        return {key: file.get_tensor(f"{key}.{name}") for key in STATE_KEYS}


def read_master_weight(folder: Path, manifest: Manifest, name: str) -> torch.Tensor:
    """Master weight of one parameter, fp32 on the CPU."""
    with safe_open(folder / manifest.parameters[name], framework="pt") as file:
        weight: torch.Tensor = file.get_tensor(f"master.{name}")
    return weight


def named_buffers(buffers: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's buffers under the names that the first rank's file gives them."""
    return {f"{_BUFFER}{name}": buffer for name, buffer in buffers.items()}


def read_buffers(folder: Path) -> dict[str, torch.Tensor]:
    """The model's persistent buffers by name, on the CPU, as they were stored."""
    with safe_open(folder / _BUFFERS_FILE, framework="pt") as file:
        keys = [key for key in file.keys() if key.startswith(_BUFFER)]  # noqa: SIM118
        return {key.removeprefix(_BUFFER): file.get_tensor(key) for key in keys}
