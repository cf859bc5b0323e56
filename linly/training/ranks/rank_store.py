"""The store through which the ranks of a job find each other: the launcher's, or one of rank 0."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial

import torch
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from linly.training.ranks.launcher import (
    await_port,
    forget_port,
    preferred_port,
    publish_port,
)


def launcher_store(timeout: timedelta) -> Store:
    """Connect to the store at MASTER_ADDR and MASTER_PORT.

    A launcher's store outlives a restart of the ranks by `torchrun --max-restarts`, so each start
    has keys of its own: otherwise ranks would try to reach those of the start before.
    """
    port = int(os.environ["MASTER_PORT"])
    store = TCPStore(os.environ["MASTER_ADDR"], port, is_master=False, timeout=timeout)
    return PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def store_at_any_port(rank: int, world_size: int, timeout: timedelta) -> Store:
    """The store of ranks on one machine, at the preferred port or, if that is taken, a free one."""
    host = os.environ["MASTER_ADDR"]
    if rank:
        port = await_port(timeout.total_seconds())
        store = TCPStore(host, port, world_size, is_master=False, timeout=timeout)
        if store.add("linly/ports read", 1) == world_size - 1:
            forget_port()
    else:
        open_at = partial(TCPStore, host, is_master=True, wait_for_workers=False, timeout=timeout)
        try:
            store = open_at(preferred_port(os.environ), world_size=world_size)
        except torch.distributed.DistNetworkError as error:
            if not is_taken(error):
                raise
            store = open_at(0, world_size=world_size)
        publish_port(store.port)
    os.environ["MASTER_PORT"] = str(store.port)  # the watchdog connects there too
    return store


def is_taken(error: torch.distributed.DistNetworkError) -> bool:
    """Whether another program uses the port."""
    return "EADDRINUSE" in str(error)
