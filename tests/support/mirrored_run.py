"""Run folders with checkpoints, made without training, to be mirrored and restored."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import orjson
import torch
from safetensors.torch import save_file

from linly.records.row_record import RowRecord
from linly.records.span import Span
from linly.runs.runs import RunFolder
from linly.training.checkpoints.manifest import MANIFEST, FileEntry, Manifest, folder_name
from linly.training.checkpoints.mirror import Copied, Mirror
from linly.training.engine.optimizers import optimizer_kind
from linly.training.engine.randomness import capture_random_states
from tests.support.small_state import small_state

STATE_KEYS = optimizer_kind("adamw").state_keys


def begin_run(path: Path, *, time: float = 1.5e9) -> RunFolder:
    """A run that has begun and taken no step."""
    run = RunFolder.create_or_open(path)
    run.append("decisions", {"step": 0, "kind": "start", "row": 0, "time": time})
    return run


def take_steps(run: RunFolder, first: int, last: int, mark: str) -> None:
    """Records of steps and a checkpoint of the last, all with a mark."""
    for step in range(first, last + 1):
        run.append("metrics", {"step": step, "mark": mark})
    piece = Span(f"{mark}.jsonl", 0, 0, 8)
    steps = range(first, last + 1)
    run.write_rows([RowRecord(n, n, 0, 1, mark, 0, 8, 0, 1.5, (piece,)) for n in steps])
    make_checkpoint(run, last, mark)


def make_checkpoint(run: RunFolder, step: int, mark: str) -> Path:
    """A whole checkpoint that the run's events name."""
    folder = run.checkpoints / folder_name(step)
    folder.mkdir()
    files = ("rank-00000.safetensors", "random-00000.safetensors", "state.json")
    weight = torch.frombuffer(bytearray(f"{mark} {step}".ljust(64).encode()), dtype=torch.float32)
    save_file(
        {f"{key}.a": weight.clone() for key in STATE_KEYS},
        folder / files[0],
    )
    save_file(capture_random_states(), folder / files[1])
    state = small_state(step, mark=mark, evaluated_step=step)
    (folder / files[2]).write_bytes(orjson.dumps(state))
    entries = {name: FileEntry.of(folder / name) for name in files}
    Manifest(step, entries, {"a": files[0]}).write(folder)
    digest = sha256((folder / MANIFEST).read_bytes()).hexdigest()
    run.append("events", {"step": step, "kind": "checkpoint", "text": "", "manifest": digest})
    return folder


def go_back(run: RunFolder, step: int) -> None:
    """As a start with --resume does."""
    run.truncate(step)
    for folder in run.checkpoints.glob("step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            folder.rename(folder.with_name(f"abandoned-{folder.name}"))
    run.append("decisions", {"step": step, "kind": "resume", "time": 1.6e9})


def marks_of(run: Path) -> dict[int, str]:
    """Step -> mark of the records, the rows' compared with the metrics'."""
    folder = RunFolder(run)
    marks = {line["step"]: line["mark"] for line in folder.read("metrics")}
    rows = [row for table in folder.read_rows() for row in table.to_pylist()]
    assert marks == {row["step"]: row["source"] for row in rows}
    return marks


def mark_of(run: Path, step: int) -> str:
    """Mark of a checkpoint."""
    state = run / "checkpoints" / folder_name(step) / "state.json"
    return str(orjson.loads(state.read_bytes())["mark"])


def copy_now(mirror: Mirror) -> list[Copied]:
    """One pass."""
    mirror.begin()
    assert mirror.wait(60)
    return mirror.take_results()


def everything_in(folder: Path) -> dict[str, bytes]:
    """Files by relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def add_decision(run: RunFolder, kind: str) -> None:
    """Another line of the run's decisions."""
    run.append("decisions", {"step": 7, "kind": kind, "time": 1.7e9})
