"""Random states of all kinds come back, through a file without pickle."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from linly.training.engine.randomness import capture_random_states, restore_random_states

DRAWS: dict[str, Callable[[], object]] = {
    "python": lambda: [random.random() for _ in range(3)],
    "python's second gauss": lambda: random.gauss(0, 1),
    "numpy": lambda: np.random.random(3).tolist(),
    "numpy's second gauss": lambda: float(np.random.standard_normal()),
    "torch": lambda: torch.rand(3).tolist(),
    "torch, normal": lambda: torch.randn(3).tolist(),
}


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Other tests keep their own states."""
    states = capture_random_states()
    yield
    restore_random_states(states)


@pytest.mark.parametrize("kind", DRAWS)
def test_what_is_drawn_after_a_restore_is_drawn_again(kind: str, tmp_path: Path) -> None:
    draw = DRAWS[kind]
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    random.gauss(0, 1)  # half of a pair: the other half is kept for the next call
    np.random.standard_normal()
    save_file(capture_random_states(), tmp_path / "random.safetensors")
    first = draw()
    random.seed(4)
    np.random.seed(5)
    torch.manual_seed(6)
    assert draw() != first
    restore_random_states(load_file(tmp_path / "random.safetensors"))
    assert draw() == first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_device_of_this_process_too(tmp_path: Path) -> None:
    save_file(capture_random_states(), tmp_path / "random.safetensors")
    first = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(7)
    restore_random_states(load_file(tmp_path / "random.safetensors"))
    assert torch.equal(torch.rand(3, device="cuda"), first)
