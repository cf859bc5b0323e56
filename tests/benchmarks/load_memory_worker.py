"""One rank that loads a model and makes an engine of it: `load_memory_worker.py HOW MODEL REPORT`.

HOW is `shared` (as training does) or `copies` (each rank makes fp32 weights of its own first).
"""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import orjson
import torch

from linly.config.sections.training_section import TrainingSettings
from linly.modeling.load_model import load_model
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import start_processes, stop_processes

INTERVAL_S = 0.01


def memory() -> dict[str, int]:
    """Of this process, in bytes: pages that are its own, and its part of shared ones with them."""
    text = Path("/proc/self/smaps_rollup").read_text()
    kinds = {"private": "Private_Dirty", "proportional": "Pss"}
    return {
        name: int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
        for name, key in kinds.items()
    }


class Peak:
    """The most that a process held since it was made."""

    def __init__(self) -> None:
        self.most = self.first = memory()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.look()

    def look(self) -> dict[str, int]:
        """Growth since the start: the most so far."""
        now = memory()
        self.most = {name: max(self.most[name], now[name]) for name in now}
        return {name: self.most[name] - self.first[name] for name in now}

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def main() -> None:
    how, model_path, report = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    processes = start_processes()
    processes.barrier()
    peak = Peak()
    model = load_model(model_path, dtype=torch.float32 if how == "copies" else None)
    loaded = peak.look()
    processes.barrier()
    engine = Engine(model, TrainingSettings(micro_batch=1), accumulation=1)
    whole = peak.look()
    peak.stop()
    parameters = sum(parameter.numel() for parameter in engine.module.parameters())
    values = {"parameters": parameters, "loaded": loaded, "whole": whole}
    report.with_suffix(f".{processes.rank}.json").write_bytes(orjson.dumps(values))
    processes.barrier()
    stop_processes()


if __name__ == "__main__":
    main()
