"""Random states of a process as tensors, so that a checkpoint holds them without pickle."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch
from numpy.typing import NDArray

_FORMS: dict[str, tuple[torch.dtype, tuple[int, ...] | None]] = {
    "torch": (torch.uint8, None),
    "python": (torch.int64, (626,)),
    "python_gauss": (torch.float64, (0, 1)),
    "numpy": (torch.int64, (626,)),
    "numpy_gauss": (torch.float64, (1,)),
}
"""Dtype and allowed number of values of each state; None where torch checks it."""


def seed_random_states(seed: int, *, rank: int) -> None:
    """Seed torch's generators, used by dropout, differently on each rank."""
    digest = hashlib.sha256(f"{seed} {rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))


def capture_random_states() -> dict[str, torch.Tensor]:
    """The states of torch (CPU and CUDA), numpy and Python's own generator."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([*np.asarray(keys).tolist(), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, torch.Tensor]) -> None:
    """Restore the states of `capture_random_states`; that of CUDA only if a GPU is available."""
    torch.set_rng_state(states["torch"])
    random.setstate(_python_state(states))
    np.random.set_state(_numpy_state(states))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def check_random_states(states: dict[str, torch.Tensor]) -> None:
    """Check states by restoring them into new generators, not those of the process.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, RuntimeError: If they are not valid states
            of `capture_random_states`.
    """
    forms = {name: (states[name].dtype, states[name].shape) for name in states}
    for name, (dtype, shape) in _FORMS.items():
        if forms[name][0] != dtype or len(forms[name][1]) != 1:
            raise ValueError(f"{name}: found {forms[name][0]} of shape {tuple(forms[name][1])}")
        if shape is not None and forms[name][1][0] not in shape:
            raise ValueError(f"{name}: found {forms[name][1][0]} values")
    torch.Generator().set_state(states["torch"])
    random.Random().setstate(_python_state(states))  # noqa: S311 (draws nothing)
    np.random.RandomState().set_state(_numpy_state(states))


def _python_state(states: dict[str, torch.Tensor]) -> tuple[int, tuple[int, ...], float | None]:
    version, *words = states["python"].tolist()
    gauss = states["python_gauss"].tolist()
    return version, tuple(words), gauss[0] if gauss else None


def _numpy_state(
    states: dict[str, torch.Tensor],
) -> tuple[str, NDArray[np.uint32], int, int, float]:
    *keys, position, has_gauss = states["numpy"].tolist()
    if not all(0 <= key < 1 << 32 for key in keys):
        raise ValueError("numpy: found a word of more than 32 bits")
    cached = float(states["numpy_gauss"].item())
    return "MT19937", np.array(keys, np.uint32), position, has_gauss, cached
