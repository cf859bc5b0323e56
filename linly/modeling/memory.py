"""Memory that training a model needs on each GPU, estimated before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

BF16_BYTES = 2
SHARED_BYTES = 4 + 12
"""Bytes per trained weight that ZeRO-2 partitions over the ranks: the fp32 gradient, the fp32
master weight and its two moments."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Memory of each rank with ZeRO-2 in BF16 and fp32 accumulation, without activations.

    Attributes:
        weights_bytes: Bytes of all weights in BF16, whatever the number of ranks.
        dealt_bytes: Bytes of a rank's partition of gradients, master weights and moments.
    """

    weights_bytes: int
    dealt_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of a rank, without activations and communication buckets."""
        return self.weights_bytes + self.dealt_bytes


def training_memory(num_parameters: int, *, num_trained: int, world_size: int) -> TrainingMemory:
    """Memory of a rank for `num_parameters` parameters, of which `num_trained` are trained."""
    dealt = math.ceil(num_trained * SHARED_BYTES / world_size)
    return TrainingMemory(num_parameters * BF16_BYTES, dealt)
