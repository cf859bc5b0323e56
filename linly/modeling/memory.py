"""Memory that training a model needs on each GPU, estimated before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

BF16_BYTES = 2
GRADIENT_BYTES = 4
FP32_BYTES = 4


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


def training_memory(
    num_parameters: int, *, num_trained: int, state_bytes: int, world_size: int
) -> TrainingMemory:
    """Memory of a rank for a model.

    Args:
        num_parameters: All parameters.
        num_trained: Trained parameters; ZeRO-2 partitions their gradients and state over the ranks.
        state_bytes: Bytes of a trained parameter's master weight and moments.
        world_size: Number of ranks.
    """
    dealt = math.ceil(num_trained * (GRADIENT_BYTES + state_bytes) / world_size)
    return TrainingMemory(num_parameters * BF16_BYTES, dealt)


def average_bytes(num_trained: int, *, num_copies: int, world_size: int) -> int:
    """Bytes of host memory in which a rank keeps its share of averaged weights, in fp32.

    Args:
        num_trained: Trained parameters.
        num_copies: Copies that the average needs (`WeightAveraging.num_copies`).
        world_size: Number of ranks.
    """
    return math.ceil(num_trained * FP32_BYTES * num_copies / world_size)
