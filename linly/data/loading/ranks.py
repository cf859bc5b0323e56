"""Assigns the rows of a global batch to ranks."""

from __future__ import annotations

from linly.curriculum.run_plan import Batch, valid_world_sizes
from linly.errors import ConfigError


def check_world_size(batch: Batch, world_size: int) -> None:
    """Reject a number of ranks that cannot share a global batch equally.

    Raises:
        ConfigError: If it does not fit; names the numbers that fit.
    """
    valid = valid_world_sizes(batch)
    if world_size not in valid:
        raise ConfigError(
            f"world size {world_size} does not fit data.global_batch {batch.global_batch} with "
            f"training.micro_batch {batch.micro_batch}: world size times micro_batch must divide "
            f"it; world sizes that fit: {', '.join(map(str, valid)) or 'none'}"
        )


def rank_slice(batch: Batch, *, world_size: int, rank: int) -> slice:
    """The rows [r*G/W, (r+1)*G/W) of a global batch of G.

    Raises:
        ConfigError: If the global batch cannot be split among this many ranks, or there is no
            such rank.
    """
    check_world_size(batch, world_size)
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} does not exist; there are 0 to {world_size - 1}")
    share = batch.global_batch // world_size
    return slice(rank * share, (rank + 1) * share)
