"""The processes of one run: who is which rank, and how they agree on values and on failures.

Started by `deepspeed` or `torchrun` the ranks are in the environment already; under a bare `srun`
they are taken from Slurm's variables; a plain `python` is a run of one process, which opens no
port. The port where ranks meet is one that other runs on the same machine do not use.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import torch
import torch.distributed
from torch.distributed import HashStore  # type: ignore[attr-defined]

from linly.errors import ConfigError, LinlyError, TrainingError
from linly.modeling.accelerator import choose_accelerator
from linly.training.ranks.watchdog import MARGIN, Watchdog

COLLECTIVE_TIMEOUT_S = 1800.0
APART_TIMEOUT = timedelta(hours=6)
"""For threads beside training: one rank may write for long before another; the step finds hangs."""

_PORTS = range(15_000, 25_000)
"""Below the ports that systems give to outgoing connections."""

_DEEPSPEED_PORT = "29500"
"""Port that the `deepspeed` launcher names unless it is told another."""

_STEPS_APART = 97
"""Distance of the ports of two Slurm jobs; the steps of a job lie between them."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: From 0; rank 0 writes the run folder's logs.
        world_size: How many processes train together.
        device: Where this process computes.
        group: That its collectives go through; None is that of all ranks.
        watchdog: Ends a wait for a rank that does not come.
    """

    rank: int
    world_size: int
    device: torch.device
    group: torch.distributed.ProcessGroup | None = None
    watchdog: Watchdog | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes what only one may write."""
        return self.rank == 0

    def apart(self) -> Processes:
        """The same processes for a thread beside the main one; a collective.

        Collectives of two threads must not go through one group, or they would mix.
        """
        if self.world_size == 1:
            return self
        group = torch.distributed.new_group(backend="gloo", timeout=APART_TIMEOUT)
        return Processes(self.rank, self.world_size, torch.device("cpu"), group)

    def waiting(self, where: str) -> AbstractContextManager[None]:
        """Mark a part that may have to wait for other ranks, so that a hang in it ends."""
        return nullcontext() if self.watchdog is None else self.watchdog.waiting(where)

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.gather_json(None)

    def gather_json(self, value: Any) -> list[Any]:
        """All ranks' values, in order of rank; a collective. Values are what JSON can hold."""
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
        """All ranks' values, float64 [n] each, as float64 [world_size, n] on the CPU."""
        if self.world_size == 1:
            return values.cpu().unsqueeze(0)
        return torch.stack(self._gather(values.to(self.device))).cpu()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over ranks of a float64 tensor, the same on all of them."""
        return self.gather_numbers(values.flatten()).sum(dim=0).reshape(values.shape)

    @contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """Run a part that may fail on some ranks only: when one fails, all do.

        Without it the ranks that went well would wait for the others in their next collective.
        No collective may be inside.

        Raises:
            LinlyError: On the failing rank its own error, on the others one that names it.
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

    Also puts the interpreter's folder on PATH, where helpers that libraries call (ninja) lie when
    the environment was not activated.

    Args:
        timeout_s: A rank that does not come to a collective for so long ends the job.

    Raises:
        ConfigError: If the environment names a rank but not all that belongs to it, or another
            program uses the port where the ranks meet.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    choose_accelerator()
    _complete_environment()
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
    patience = _patience(timeout_s)
    if world_size == 1:
        store = HashStore()
        torch.distributed.init_process_group(
            backend, store=store, rank=rank, world_size=1, timeout=patience
        )
        return
    try:
        torch.distributed.init_process_group(backend, timeout=patience)
    except torch.distributed.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise ConfigError(
            f"port {os.environ['MASTER_PORT']} of host {socket.gethostname()} is in use, perhaps "
            "by another run, and the ranks cannot meet there: give the launcher another port "
            "(deepspeed --master_port N, torchrun --master-port N), or export MASTER_PORT for srun"
        ) from error


def be_patient(group: torch.distributed.ProcessGroup, timeout_s: float) -> None:
    """Keep a library's group from giving up before the watchdog does (NCCL's take 10 minutes)."""
    torch.distributed.distributed_c10d._set_pg_timeout(_patience(timeout_s), group)


def _patience(timeout_s: float) -> timedelta:
    """A backend's timeout: longer than the watchdog's, which says more."""
    return timedelta(seconds=timeout_s) + MARGIN


def stop_processes() -> None:
    """Leave the group in good order; only after all ranks went well (else it may wait)."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _complete_environment() -> None:
    """Fill in RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT."""
    environment = os.environ
    if "RANK" in environment:
        missing = [
            name
            for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
            if name not in environment
        ]
        if missing:
            raise ConfigError(
                f"the environment sets RANK but not {', '.join(missing)}: start with `deepspeed`, "
                "`torchrun` or `srun`, or unset RANK to train in one process"
            )
        if environment.get("CROSS_SIZE") == "1" and environment["MASTER_PORT"] == _DEEPSPEED_PORT:
            environment["MASTER_PORT"] = _port(os.getppid())
    elif "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        environment["RANK"] = environment["SLURM_PROCID"]
        environment["WORLD_SIZE"] = environment["SLURM_STEP_NUM_TASKS"]
        environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
        environment.setdefault("MASTER_ADDR", first_host(nodes))
        job, step = (int(environment.get(f"SLURM_{name}_ID", "0")) for name in ("JOB", "STEP"))
        environment.setdefault("MASTER_PORT", _port(job * _STEPS_APART + step))
    else:
        environment["RANK"] = environment["LOCAL_RANK"] = "0"
        environment["WORLD_SIZE"] = "1"
        environment["MASTER_ADDR"] = "127.0.0.1"
        environment["MASTER_PORT"] = str(_free_port())


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: `gpu[003-005,9],cpu1` -> `gpu003`.

    Raises:
        ConfigError: There is no host in it.
    """
    match = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        raise ConfigError(
            f"no host in Slurm's node list {nodes!r}: set MASTER_ADDR to the host of rank 0"
        )
    return "".join(part or "" for part in match.groups())


def _port(launch: int) -> str:
    """The port of a launch by a number that its ranks share and other launches do not.

    Ranks of one machine share their launcher's process id, ranks of a Slurm step its number.
    """
    return str(_PORTS[launch % len(_PORTS)])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
