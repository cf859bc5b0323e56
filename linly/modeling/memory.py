"""What training a model takes of each GPU and of the disk, before any of it is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

BF16_BYTES = 2
SHARED_BYTES = 4 + 12
"""A trained weight's part that ZeRO-2 deals to the ranks: the fp32 gradient, the fp32 master
weight and its two moments."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """What ZeRO-2 in BF16 with fp32 accumulation holds on each rank, without activations.

    Attributes:
        weights_bytes: All weights in BF16; more ranks do not make it less.
        dealt_bytes: Gradients, master weights and moments, this rank's part.
    """

    weights_bytes: int
    dealt_bytes: int

    @property
    def total_bytes(self) -> int:
        """Of a rank, before activations and communication buckets."""
        return self.weights_bytes + self.dealt_bytes


def training_memory(num_parameters: int, *, num_trained: int, world_size: int) -> TrainingMemory:
    """Memory of a rank for a model of so many parameters, of which so many are trained."""
    dealt = math.ceil(num_trained * SHARED_BYTES / world_size)
    return TrainingMemory(num_parameters * BF16_BYTES, dealt)
