"""Processes of one run: their ranks, and how they agree on values and failures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import torch
import torch.distributed
from torch.distributed import HashStore, Store  # type: ignore[attr-defined]

from linly.errors import LinlyError, TrainingError
from linly.modeling.accelerator import choose_accelerator
from linly.training.ranks.launcher import (
    check_port,
    chooses_port,
    free_port,
    port_error,
    rank_variables,
)
from linly.training.ranks.rank_store import is_taken, launcher_store, store_at_any_port
from linly.training.ranks.watchdog import MARGIN, Watchdog

COLLECTIVE_TIMEOUT_S = 1800.0
BACKGROUND_TIMEOUT = timedelta(hours=6)
"""Timeout for background threads, where ranks may wait long; the training step detects hangs."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: Rank of this process, from 0; rank 0 writes the run folder's logs.
        world_size: Number of processes of the run.
        device: Device of this process.
        group: Process group for collectives; None for the default group.
        watchdog: Watchdog that ends waits for a hung rank; None if there is no other rank.
    """

    rank: int
    world_size: int
    device: torch.device
    group: torch.distributed.ProcessGroup | None = None
    watchdog: Watchdog | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes the files of the run."""
        return self.rank == 0

    def for_background_thread(self) -> Processes:
        """The same processes for use in a background thread; a collective.

        Two threads must not share a group, or their collectives would mix.
        """
        if self.world_size == 1:
            return self
        group = torch.distributed.new_group(backend="gloo", timeout=BACKGROUND_TIMEOUT)
        return Processes(self.rank, self.world_size, torch.device("cpu"), group)

    def waiting(self, where: str) -> AbstractContextManager[None]:
        """Mark a section that may wait for other ranks, so that the watchdog ends a hang."""
        return nullcontext() if self.watchdog is None else self.watchdog.waiting(where)

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.gather_json(None)

    def gather_json(self, value: Any) -> list[Any]:
        """JSON values of all ranks, in rank order; a collective."""
        if self.world_size == 1:
            return [orjson.loads(orjson.dumps(value))]
        data = torch.frombuffer(bytearray(orjson.dumps(value)), dtype=torch.uint8).to(self.device)
        sizes = self._gather(torch.tensor([len(data)], dtype=torch.int64, device=self.device))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8, device=self.device)
        padded[: len(data)] = data
        parts = self._gather(padded)
        return [
            orjson.loads(part[: int(size)].cpu().numpy().tobytes())
            for part, size in zip(parts, sizes, strict=True)
        ]

    def gather_numbers(self, values: torch.Tensor) -> torch.Tensor:
        """Values of all ranks, float64 [n] each, as float64 [world_size, n] on the CPU."""
        if self.world_size == 1:
            return values.cpu().unsqueeze(0)
        return torch.stack(self._gather(values.to(self.device))).cpu()

    def gather_flagged(
        self, values: torch.Tensor, flags: Sequence[bool]
    ) -> tuple[torch.Tensor, list[bool]]:
        """Gather values, and agree on flags in the same collective, as each one costs a round trip.

        Args:
            values: float64 [n], the same n on all ranks.
            flags: Flags of this rank.

        Returns:
            Values of all ranks, as of `gather_numbers`; for each flag, whether any rank sets it.
        """
        raised = torch.tensor([float(flag) for flag in flags], dtype=torch.float64)
        message = torch.cat([values, raised.to(values.device)])
        gathered = self.gather_numbers(message)
        num_values = len(values)
        agreed: list[bool] = gathered[:, num_values:].any(dim=0).tolist()
        return gathered[:, :num_values], agreed

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of a float64 tensor over ranks, the same on all of them."""
        return self.gather_numbers(values.flatten()).sum(dim=0).reshape(values.shape)

    @contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """Run a section that may fail on some ranks; if one rank fails, all ranks fail.

        Otherwise the ranks that succeeded would block in their next collective. The section must
        not contain a collective.

        Raises:
            LinlyError: If a rank failed: its own error there, an error that names it elsewhere.
        """
        error: LinlyError | None = None
        try:
            yield
        except LinlyError as found:
            error = found
        except OSError as found:
            error = TrainingError(f"{doing}: {found}")
            error.__cause__ = found
        with self.waiting(doing):
            texts = self.gather_json(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, text in enumerate(texts):
            if text is not None:
                raise TrainingError(f"{doing} failed on rank {rank}: {text}")

    def _gather(self, values: torch.Tensor) -> list[torch.Tensor]:
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        with self.waiting("an exchange with the other ranks"):
            torch.distributed.all_gather(parts, values, group=self.group)
        return parts


def start_processes(timeout_s: float = COLLECTIVE_TIMEOUT_S) -> Processes:
    """Join the other processes of the run.

    Also adds the interpreter's folder to PATH, so that libraries find their helpers (ninja) if the
    environment is not activated.

    Args:
        timeout_s: Seconds to wait for a rank in a collective before the job ends.

    Raises:
        ConfigError: If the environment sets a rank without the other variables, or another program
            uses the port at which the ranks meet.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    choose_accelerator()
    os.environ.update(rank_variables(os.environ))
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        _meet(rank, world_size, device, timeout_s)
    if world_size == 1:
        return Processes(rank, world_size, device)
    watchdog = Watchdog(rank, world_size, timeout_s=timeout_s)
    watchdog.start()
    return Processes(rank, world_size, device, watchdog=watchdog)


def _meet(rank: int, world_size: int, device: torch.device, timeout_s: float) -> None:
    """Join the process group."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = _backend_timeout(timeout_s)
    store: Store | None = None
    if world_size == 1:
        os.environ.setdefault("MASTER_PORT", str(free_port()))
        store = HashStore()
    elif os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store = launcher_store(timeout)
    elif chooses_port(os.environ):
        store = store_at_any_port(rank, world_size, timeout)
    elif rank == 0:
        check_port(os.environ)
    if store is not None:
        torch.distributed.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=timeout
        )
        return
    try:
        torch.distributed.init_process_group(backend, timeout=timeout)
    except torch.distributed.DistNetworkError as error:  # taken since the check
        if not is_taken(error):
            raise
        raise port_error(os.environ["MASTER_PORT"]) from error


def raise_group_timeout(group: torch.distributed.ProcessGroup, timeout_s: float) -> None:
    """Raise a library group's timeout above the watchdog's (the default of NCCL is 10 minutes)."""
    torch.distributed.distributed_c10d._set_pg_timeout(_backend_timeout(timeout_s), group)


def _backend_timeout(timeout_s: float) -> timedelta:
    """Timeout of a backend: longer than the watchdog's, whose error is more informative."""
    return timedelta(seconds=timeout_s) + MARGIN


def stop_processes() -> None:
    """Destroy the process group; only after all ranks succeeded, as it may block otherwise."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
