"""Snapshot of one rank's part of a checkpoint in host memory, so that training can continue.

A rank writes the parameters that are entirely in its share of the optimizer, which needs no
communication. The few that span two shares are gathered on all ranks and distributed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from linly.training.engine.engine import Engine
from linly.training.engine.randomness import capture_random_states
from linly.training.ranks.processes import Processes


@dataclass(frozen=True, slots=True)
class RankSnapshot:
    """One rank's part of a checkpoint.

    Attributes:
        tensors: `KEY.PARAMETER` -> fp32 on the CPU; overwritten by the next snapshot.
        buffers: Persistent buffers of the model by name, on rank 0; none on the others.
        random: Random states of the rank.
    """

    tensors: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    random: dict[str, torch.Tensor]

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters in it, sorted."""
        return sorted({key.split(".", 1)[1] for key in self.tensors})

    @property
    def size_bytes(self) -> int:
        """Total size of its tensors."""
        tensors = (*self.tensors.values(), *self.buffers.values(), *self.random.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class RankSnapshots:
    """Takes snapshots of an engine, reusing the same host memory (page-locked with a GPU)."""

    def __init__(self, processes: Processes) -> None:
        """Allocate nothing before the first snapshot."""
        self._processes = processes
        self._writers: dict[str, int] = {}
        self._split: set[str] = set()
        self._buffers: dict[str, torch.Tensor] = {}

    def take(self, engine: Engine) -> RankSnapshot:
        """Copy this rank's part of a checkpoint; a collective."""
        parameters = engine.parameters()
        if self._writers.keys() != parameters.keys():
            self._writers = self._assign_writers(engine)
        copies: dict[str, torch.Tensor] = {}
        for name, parameter in parameters.items():
            is_mine = self._writers[name] == self._processes.rank
            if name in self._split:
                with self._processes.waiting("a snapshot for a checkpoint"):
                    state = engine.full_state(parameter)
            elif is_mine:
                state = engine.held_state(parameter) or {}
            if is_mine:
                for key, tensor in state.items():
                    copies[f"{key}.{name}"] = self._copy(f"{key}.{name}", tensor)
        buffers: dict[str, torch.Tensor] = {}
        if self._processes.is_first:
            buffers = {name: buffer.cpu().clone() for name, buffer in engine.buffers().items()}
        if engine.device.type == "cuda":
            torch.cuda.synchronize(engine.device)
        return RankSnapshot(copies, buffers, capture_random_states())

    def release(self) -> None:
        """Release the host memory."""
        self._buffers.clear()

    def _assign_writers(self, engine: Engine) -> dict[str, int]:
        """The rank that writes each parameter, the same on all ranks; a collective."""
        parameters = engine.parameters()
        held = [name for name, p in parameters.items() if engine.held_state(p) is not None]
        holders = {
            name: rank
            for rank, names in enumerate(self._processes.gather_json(held))
            for name in names
        }
        sizes = {name: parameter.numel() for name, parameter in parameters.items()}
        self._split = sizes.keys() - holders.keys()
        return assign_writers(sizes, self._processes.world_size, holders)

    def _copy(self, key: str, tensor: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers.get(key)
        if buffer is None or buffer.shape != tensor.shape:
            is_pinned = tensor.device.type == "cuda"
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=is_pinned)
            self._buffers[key] = buffer
        return buffer.copy_(tensor, non_blocking=True)


def assign_writers(
    sizes: Mapping[str, int], world_size: int, holders: Mapping[str, int]
) -> dict[str, int]:
    """The rank that writes each parameter.

    Args:
        sizes: Number of elements of each parameter.
        world_size: Number of ranks.
        holders: Rank that holds all of a parameter, and writes it. The other parameters are
            assigned largest first, each to the rank with the least to write so far.
    """
    writers = dict(holders)
    loads = [0] * world_size
    for name, rank in holders.items():
        loads[rank] += sizes[name]
    for name in sorted(sizes.keys() - holders.keys(), key=lambda name: (-sizes[name], name)):
        writers[name] = loads.index(min(loads))
        loads[writers[name]] += sizes[name]
    return writers
