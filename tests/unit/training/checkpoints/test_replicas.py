"""Digests of weights, and which ranks differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch

from linly.errors import TrainingError
from linly.training.checkpoints import replicas
from linly.training.checkpoints.replicas import check_replicas, weight_digest
from linly.training.ranks.processes import Processes


@dataclass
class Ranks:
    """Ranks of which the others' digests are known."""

    others: list[list[int]]

    @property
    def world_size(self) -> int:
        return 1 + len(self.others)

    def gather_json(self, value: Any) -> list[Any]:
        return [value, *self.others]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int8])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_every_flipped_bit_changes_the_digest(
    dtype: torch.dtype, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "_PART", 8)
    weight = torch.randn(size).mul(9).to(dtype)
    digest = weight_digest(weight).item()
    assert weight_digest(weight.clone()).item() == digest
    for place in range(size * weight.element_size()):
        for bit in range(8):
            changed = weight.clone()
            changed.view(torch.uint8)[place] ^= 1 << bit
            assert weight_digest(changed).item() != digest, (place, bit)


def test_elements_that_change_places_change_the_digest() -> None:
    weight = torch.arange(12, dtype=torch.bfloat16).view(3, 4)
    assert weight_digest(weight).item() != weight_digest(weight.flip(0)).item()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ((2,), "the weights of rank 2 differ from those of the other ranks in 'b'"),
        ((0, 3), "the weights of ranks 0, 3 differ from those of the other ranks in 'b'"),
        ((0, 3, 4), "ranks 0, 1, 2, 3, 4, 5 hold different weights in 'b'"),
    ],
)
def test_the_ranks_that_differ_are_named(changed: tuple[int, ...], text: str) -> None:
    sound = {name: torch.ones(3, dtype=torch.bfloat16) for name in "ab"}
    faulty = sound | {"b": torch.tensor([1, 1, 2], dtype=torch.bfloat16)}
    of_ranks = [faulty if rank in changed else sound for rank in range(6)]
    digests = [[int(weight_digest(weight)) for weight in each.values()] for each in of_ranks]
    ranks = cast(Processes, Ranks(digests[1:]))
    with pytest.raises(TrainingError, match=text):
        check_replicas(of_ranks[0], ranks, doing="the checkpoint of step 3")
