"""Reading a verified checkpoint, one tensor at a time; its manifest says what lies where."""

from __future__ import annotations

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
