"""One rank of a small engine under test: `engine_worker.py MODE,MODE FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.data.types import IGNORE_LABEL
from linly.errors import LinlyError
from linly.training.checkpoints import checkpoints as checkpoint_module
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes, start_processes, stop_processes
from tests.support.engines import state_of
from tests.support.models import tiny_model
from tests.support.small_state import small_state

ROWS, LENGTH, VOCABULARY = 16, 24, 96


def make_engine(micro_batch: int, world_size: int, **settings: Any) -> Engine:
    training = {"micro_batch": micro_batch, "lr": 1e-2, "weight_decay": 0.1, **settings}
    return Engine(
        tiny_model("llama", seed=3, vocab_size=VOCABULARY),
        TrainingSettings.model_validate(training),
        accumulation=ROWS // (micro_batch * world_size),
    )


def global_batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and labels of a step; the rows carry very unequal numbers of labels."""
    generator = np.random.default_rng(step)
    ids = torch.from_numpy(generator.integers(0, VOCABULARY, (ROWS, LENGTH)))
    labels = ids.clone()
    for row in range(ROWS):
        labels[row, : 1 + (row * 7) % (LENGTH - 1)] = IGNORE_LABEL
    return ids, labels


def accumulate(engine: Engine, processes: Processes, step: int, micro_batch: int) -> torch.Tensor:
    ids, labels = global_batch(step)
    targets = int((labels != IGNORE_LABEL).sum())
    share = ROWS // processes.world_size
    positions = torch.arange(LENGTH).expand(micro_batch, LENGTH)
    first = processes.rank * share
    losses = [
        engine.accumulate(
            MicroBatch(ids[at : at + micro_batch], labels[at : at + micro_batch], positions),
            step_targets=targets,
        )
        for at in range(first, first + share, micro_batch)
    ]
    return torch.cat(losses)


def checkpoints(folder: Path, processes: Processes) -> Checkpoints:
    (folder / "checkpoints").mkdir(exist_ok=True)
    return Checkpoints(folder / "checkpoints", processes, CheckpointSettings())


def save(folder: Path, processes: Processes) -> None:
    """Three steps, a checkpoint, two more steps: both states and the last losses are kept."""
    engine = make_engine(2, processes.world_size)
    for step in range(3):
        accumulate(engine, processes, step, 2)
        engine.step(lr=1e-2)
    checkpoints(folder, processes).save(
        engine, 3, small_state(3, optimizer_steps=engine.optimizer_steps())
    )
    _keep(folder / f"saved-{processes.world_size}", state_of(engine), processes)
    _continue(folder / f"continued-{processes.world_size}", engine, processes)


def load(folder: Path, processes: Processes) -> None:
    """The checkpoint into a fresh engine, and the same two steps."""
    engine = make_engine(2, processes.world_size)
    found = checkpoints(folder, processes).newest()
    assert found is not None
    optimizer_steps = read_state(found)["optimizer_steps"]
    checkpoints(folder, processes).load(found, engine, optimizer_steps=optimizer_steps)
    assert engine.optimizer_steps() == 3
    _keep(folder / f"loaded-{processes.world_size}", state_of(engine), processes)
    _continue(folder / f"reloaded-{processes.world_size}", engine, processes)


def guards(folder: Path, processes: Processes) -> None:
    """A discarded step, and one with an infinite gradient on one rank, change nothing."""
    engine = make_engine(2, processes.world_size)
    accumulate(engine, processes, 0, 2)
    assert engine.step(lr=1e-2).applied
    before = state_of(engine)
    accumulate(engine, processes, 1, 2)
    engine.discard()
    _assert_same(before, state_of(engine))

    parameter = engine.parameters()["model.layers.0.mlp.up_proj.weight"]
    poisoned = processes.rank == processes.world_size - 1
    hook = parameter.register_hook(lambda g: g * float("inf") if poisoned else g)
    accumulate(engine, processes, 2, 2)
    hook.remove()
    result = engine.step(lr=1e-2)
    assert not result.applied
    assert engine.optimizer_steps() == 1
    _assert_same(before, state_of(engine))

    accumulate(engine, processes, 3, 2)
    assert engine.step(lr=1e-2).applied
    after = state_of(engine)
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(bool(torch.isfinite(value).all()) for value in after.values())


def batches(folder: Path, processes: Processes) -> None:
    """1 x 16 and 16 x 1 give the same gradient: after one step the first moment is 0.1 of it."""
    moments = {}
    for micro_batch in (1, 16 // processes.world_size):
        engine = make_engine(micro_batch, processes.world_size)
        accumulate(engine, processes, 0, micro_batch)
        engine.step(lr=1e-2)
        moments[micro_batch] = {k: v for k, v in state_of(engine).items() if "exp_avg." in k}
    _keep(folder / f"one-{processes.world_size}", moments[1], processes)
    _keep(folder / f"all-{processes.world_size}", moments[16 // processes.world_size], processes)


def fail(folder: Path, processes: Processes) -> None:
    """The last rank fails in a part that may fail: all do, and name it."""
    failing = processes.world_size - 1
    try:
        with processes.together("writing"):
            if processes.rank == failing:
                raise OSError("no space left")
    except LinlyError as error:
        where = "" if processes.rank == failing else f" failed on rank {failing}: writing"
        assert str(error) == f"writing{where}: no space left", error
        return
    raise AssertionError("this rank went on")


def lose(folder: Path, processes: Processes) -> None:
    """The last rank cannot write its part, beside training: all learn of it at one step."""
    engine = make_engine(2, processes.world_size)
    (folder / "lost").mkdir(exist_ok=True)
    keeper = checkpoints(folder / "lost", processes)
    accumulate(engine, processes, 0, 2)
    engine.step(lr=1e-2)
    keeper.begin(engine, 1, small_state(1))
    before = state_of(engine)
    accumulate(engine, processes, 1, 2)
    engine.step(lr=1e-2)
    assert keeper.wait() is not None

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        raise OSError(28, "No space left on device")

    failing = processes.world_size - 1
    if processes.rank == failing:
        checkpoint_module.save_file = full
    keeper.begin(engine, 2, small_state(2))
    while not any(processes.gather_json(keeper.has_failed)):
        accumulate(engine, processes, 2, 2)
        engine.step(lr=1e-2)
    try:
        keeper.wait()
    except LinlyError as error:
        assert "No space left on device" in str(error), error
        assert (f"failed on rank {failing}" in str(error)) == (processes.rank != failing), error
    else:
        raise AssertionError("this rank went on")
    checkpoint_module.save_file = save_file
    processes.barrier()
    assert sorted(path.name for path in (folder / "lost" / "checkpoints").iterdir()) == [
        "step-00000001"
    ]
    newest = keeper.newest()
    assert newest is not None
    keeper.load(newest, engine, optimizer_steps=1)
    _assert_same(before, state_of(engine))


def flip(folder: Path, processes: Processes) -> None:
    """A bit of a weight flips on the last rank: nothing is saved, and all ranks name it."""
    engine = make_engine(2, processes.world_size)
    (folder / "flipped").mkdir(exist_ok=True)
    keeper = checkpoints(folder / "flipped", processes)
    if processes.rank == processes.world_size - 1:
        weight = dict(engine.module.named_parameters())["model.layers.0.mlp.up_proj.weight"]
        weight.data.view(torch.int16).flatten()[7] ^= 1
    try:
        keeper.save(engine, 1, small_state(1))
    except LinlyError as error:
        assert "the checkpoint of step 1 was refused: ranks 0, 1 hold different" in str(error)
        assert "in 'model.layers.0.mlp.up_proj.weight'" in str(error), error
    else:
        raise AssertionError("this rank went on")
    assert keeper.newest() is None
    assert list((folder / "flipped" / "checkpoints").iterdir()) == []


def die(folder: Path, processes: Processes) -> None:
    """The last rank fails where none expects it: the others must not wait for it."""
    if processes.rank == processes.world_size - 1:
        raise KeyError("a defect")
    processes.gather_json(1)


def _continue(path: Path, engine: Engine, processes: Processes) -> None:
    losses = []
    for step in (3, 4):
        mine = accumulate(engine, processes, step, 2)
        losses.append(processes.gather_numbers(mine.double()).flatten())
        engine.step(lr=1e-2)
    _keep(path, {"losses": torch.stack(losses)}, processes)


def _keep(path: Path, tensors: dict[str, torch.Tensor], processes: Processes) -> None:
    if processes.is_first:
        save_file(tensors, path.with_suffix(".safetensors"))


def _assert_same(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> None:
    for key, value in before.items():
        assert torch.equal(value, after[key]), key


def main() -> None:
    processes = start_processes()
    modes = (save, load, guards, batches, fail, lose, flip, die)
    for name in sys.argv[1].split(","):
        {mode.__name__: mode for mode in modes}[name](Path(sys.argv[2]), processes)
    stop_processes()


if __name__ == "__main__":
    main()
