"""One rank of three that meet twice, of which one does not come: `hang_worker.py WHO HOW`."""

from __future__ import annotations

import os
import signal
import sys
import time

from linly.training.ranks.processes import start_processes

who, how = int(sys.argv[1]), sys.argv[2]
processes = start_processes(timeout_s=10)
with processes.waiting("step 1: losses"):
    processes.gather_json(processes.rank)
if processes.rank == who:
    assert processes.watchdog is not None
    told = processes.watchdog._beat
    while processes.watchdog._beat < told + 2:  # the others know that it came so far
        time.sleep(0.1)
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)
with processes.waiting("step 2: losses"):
    processes.gather_json(processes.rank)
