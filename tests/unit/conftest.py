"""A process group of one, which DeepSpeed's engine needs even alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from linly.training.ranks.processes import Processes, start_processes, stop_processes

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK")


@pytest.fixture(scope="session")
def alone() -> Iterator[Processes]:
    """This process as a run of one; processes that tests start must not take it for a launcher."""
    import deepspeed

    from linly.training.engine.engine import _no_helper_builds

    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setenv(name, "")
            patch.delenv(name)
        processes = start_processes()
        _no_helper_builds()
        deepspeed.init_distributed()
        for name in NAMES[:-1]:  # DeepSpeed asks for LOCAL_RANK at every engine
            del os.environ[name]
        yield processes
        stop_processes()
