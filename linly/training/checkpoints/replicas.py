"""Comparison of the weights that every rank holds: a silent error is not saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from linly.errors import TrainingError
from linly.training.ranks.processes import Processes

_PART = 1 << 22
_FACTOR = 0x9E3779B97F4A7C15 - (1 << 64)  # odd, so that it loses no bit of what it multiplies


def check_replicas(
    weights: Mapping[str, torch.Tensor], processes: Processes, *, doing: str
) -> None:
    """Compare weights that must be equal on all ranks; a collective.

    Args:
        weights: Weights by name, the same names on all ranks.
        processes: Processes of the run.
        doing: Action that is refused if they differ, as the error names it.

    Raises:
        TrainingError: If they differ; on all ranks, naming ranks and the first such weight.
    """
    if processes.world_size == 1:
        return
    digests = torch.stack([weight_digest(tensor) for tensor in weights.values()]).tolist()
    gathered = processes.gather_json(digests)
    for name, of_ranks in zip(weights, zip(*gathered, strict=True), strict=True):
        if len(set(of_ranks)) > 1:
            raise TrainingError(
                f"{doing} was refused: {_who_differs(of_ranks)} in {name!r}, which must be equal "
                "on all ranks. The memory or the network of a machine may be faulty: look at its "
                "logs, and start the run again without it; it resumes from the checkpoint before"
            )


def weight_digest(weight: torch.Tensor) -> torch.Tensor:
    """Digest of a tensor's bits; any change of a single element changes it.

    Args:
        weight: Tensor of any shape and dtype; it is read in parts of 32 MiB.

    Returns:
        int64 [], on the tensor's device; nothing waits for the device.
    """
    octets = weight.detach().contiguous().flatten().view(torch.uint8)
    words = functional.pad(octets, (0, -len(octets) % 8)).view(torch.int64)
    odd = torch.arange(min(_PART, len(words)), device=words.device) * 2 + 1
    digest = torch.zeros((), dtype=torch.int64, device=words.device)
    for part in torch.split(words, _PART):
        digest = digest * _FACTOR + (part * odd[: len(part)]).sum()
    return digest


def _who_differs(digests: Sequence[int]) -> str:
    """Ranks that differ from the most common digest; all groups where none is."""
    (usual, count), *others = Counter(digests).most_common()
    if others and others[0][1] == count:
        return f"ranks {_listed(range(len(digests)))} hold different weights"
    different = [rank for rank, digest in enumerate(digests) if digest != usual]
    word = "rank" if len(different) == 1 else "ranks"
    return f"the weights of {word} {_listed(different)} differ from those of the other ranks"


def _listed(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))
