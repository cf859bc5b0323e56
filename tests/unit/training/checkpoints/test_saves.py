"""Saves beside training, and what is left when one breaks off anywhere."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from linly.config.sections.saving_sections import CheckpointSettings
from linly.errors import CheckpointError
from linly.training.checkpoints import checkpoints as module
from linly.training.checkpoints.checkpoint_files import read_parameter, read_state
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.manifest import Manifest
from linly.training.engine.engine import Engine
from linly.training.engine.optimizers import optimizer_kind
from linly.training.ranks.processes import Processes
from tests.support.disk_faults import full_from, killed_at, operations
from tests.support.engines import state_of, take_step, tiny_engine
from tests.support.small_state import small_state

ONE = CheckpointSettings(every=1, keep_last=1, keep_every=None)


@pytest.fixture(scope="module")
def engine(alone: Processes) -> Engine:
    engine = tiny_engine()
    take_step(engine)
    return engine


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No file of tensors is written before it is set."""
    gate = threading.Event()

    def held(tensors: dict[str, torch.Tensor], path: Path) -> None:
        assert gate.wait(60)
        save_file(tensors, path)

    monkeypatch.setattr(module, "save_file", held)
    yield gate
    gate.set()


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    keys = optimizer_kind("adamw").state_keys
    return {
        f"{key}.{name}": tensor
        for name, file in Manifest.read(folder).parameters.items()
        for key, tensor in read_parameter(folder / file, name, keys).items()
    }


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_a_checkpoint_is_of_the_step_at_which_it_began(
    alone: Processes, tmp_path: Path, gate: threading.Event
) -> None:
    """Weights, counts and random states go on while it is written."""
    engine = tiny_engine()
    take_step(engine)
    keeper = Checkpoints(tmp_path, alone, ONE)
    before, counts = state_of(engine), small_state(1, rows=8)
    torch.manual_seed(11)
    keeper.begin(engine, 1, counts)
    counts["rows"] = 16
    drawn = torch.rand(4)
    take_step(engine)
    assert keeper.published() is None
    assert not keeper.has_failed
    gate.set()
    folder = keeper.wait()
    assert folder == tmp_path / "step-00000001"
    assert_same(tensors_in(folder), before)
    assert read_state(folder) == small_state(1, rows=8)
    keeper.load(folder, engine, optimizer_steps=1)
    assert_same(state_of(engine), before)
    assert torch.equal(torch.rand(4), drawn)


def test_the_next_save_does_not_change_what_the_last_one_wrote(
    alone: Processes, tmp_path: Path
) -> None:
    """They share their memory."""
    engine = tiny_engine()
    keeper = Checkpoints(tmp_path, alone, CheckpointSettings(every=1))
    states = {}
    for step in (1, 2):
        take_step(engine)
        states[step] = state_of(engine)
        keeper.save(engine, step, small_state(step))
    for step, state in states.items():
        assert_same(tensors_in(keeper.of_step(step)), state)


def test_a_save_that_fails_beside_training_is_known_and_raised(
    engine: Engine, alone: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Checkpoints(tmp_path, alone, ONE)
    keeper.save(engine, 1, small_state(1))

    def torn(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", torn)
        keeper.begin(engine, 2, small_state(2))
        with pytest.raises(CheckpointError, match=r"Input/output error.*earlier .* are complete"):
            keeper.wait()
        keeper.begin(engine, 2, small_state(2))
        while not keeper.has_failed:
            assert keeper.published() is None
        with pytest.raises(CheckpointError):
            keeper.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert keeper.save(engine, 2, small_state(2)) == keeper.newest()


def test_a_kill_at_any_operation_leaves_a_whole_checkpoint(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    """Also half a file; the old one is removed in the same save when the new one is whole."""
    origin = tmp_path / "origin"
    origin.mkdir()
    Checkpoints(origin, alone, ONE).save(engine, 1, small_state(1))
    expected = state_of(engine)

    def save(folder: Path) -> None:
        Checkpoints(folder, alone, ONE).save(engine, 2, small_state(2))

    counted = tmp_path / "counted"
    shutil.copytree(origin, counted)
    number = len(operations(counted, lambda: save(counted)))
    assert number > 20
    found = set()
    for kill in range(number):
        folder = tmp_path / f"killed-{kill}"
        shutil.copytree(origin, folder)
        status = killed_at(folder, kill, lambda folder=folder: save(folder))  # type: ignore[misc]
        assert os.WIFSIGNALED(status), kill
        assert os.WTERMSIG(status) == signal.SIGKILL
        newest = Checkpoints(folder, alone, ONE).newest()
        assert newest is not None
        found.add(read_state(newest)["step"])
        assert_same(tensors_in(newest), expected)
        save(folder)
        assert [path.name for path in folder.iterdir()] == ["step-00000002"], kill
    assert found == {1, 2}


def test_a_disk_full_from_any_operation_on_harms_no_earlier_checkpoint(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    origin, counted = tmp_path / "origin", tmp_path / "counted"
    origin.mkdir()
    Checkpoints(origin, alone, ONE).save(engine, 1, small_state(1))
    shutil.copytree(origin, counted)
    number = len(
        operations(
            counted, lambda: Checkpoints(counted, alone, ONE).save(engine, 2, small_state(2))
        )
    )
    failures = 0
    for full in range(number):
        folder = tmp_path / f"full-{full}"
        shutil.copytree(origin, folder)
        keeper = Checkpoints(folder, alone, ONE)
        with full_from(folder, full):
            try:
                keeper.save(engine, 2, small_state(2))
            except CheckpointError as error:
                failures += 1
                assert "No space left on device" in str(error)
        assert keeper.newest() is not None
        assert not list(folder.glob(".*.partial")), full
        assert not list(folder.rglob("*.tmp")), full
        keeper.save(engine, 3, small_state(3))
        assert [path.name for path in folder.iterdir()] == ["step-00000003"]
    assert failures > 10


def test_a_checkpoint_that_does_not_fit_is_not_begun_to_be_written(
    engine: Engine, alone: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Checkpoints(tmp_path, alone, ONE)
    keeper.save(engine, 1, small_state(1))
    usage = namedtuple("usage", "total used free")
    free = 12 * sum(parameter.numel() for parameter in engine.parameters().values()) + (60 << 20)
    written = []
    monkeypatch.setattr(module, "save_file", lambda tensors, path: written.append(path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 1 << 40, free))
    with pytest.raises(
        CheckpointError, match=rf"needs 67,.* bytes, but only {free:,} are free.*Free some"
    ):
        keeper.save(engine, 2, small_state(2))
    assert not written
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_synchronous_save_keeps_no_memory(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    for is_async in (True, False):
        settings = CheckpointSettings.model_validate({"async": is_async})
        keeper = Checkpoints(tmp_path, alone, settings)
        keeper.save(engine, 1, small_state(1))
        assert bool(keeper._snapshots._buffers) == is_async
