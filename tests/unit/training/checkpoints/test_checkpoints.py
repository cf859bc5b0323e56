"""Saving, finding and keeping checkpoints with a real engine, in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from linly.config.sections.saving_sections import CheckpointSettings
from linly.errors import CheckpointError
from linly.training.checkpoints.checkpoint_files import read_master_weight, read_state
from linly.training.checkpoints.checkpoints import Checkpoints, superseded
from linly.training.checkpoints.manifest import Manifest
from linly.training.checkpoints.rank_snapshot import assign_writers
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes
from tests.support.engines import take_step, tiny_engine
from tests.support.small_state import small_state


@pytest.fixture(scope="module")
def engine(alone: Processes) -> Engine:
    engine = tiny_engine()
    take_step(engine)
    return engine


def checkpoints(folder: Path, alone: Processes, **settings: int | None) -> Checkpoints:
    return Checkpoints(folder, alone, CheckpointSettings(every=1, **settings))  # type: ignore[arg-type]


def steps_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_state_and_weights_come_back(engine: Engine, alone: Processes, tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, alone).save(engine, 1, small_state(1, note="猫"))
    assert steps_in(folder) == [
        "manifest.json",
        "random-00000.safetensors",
        "rank-00000.safetensors",
        "state.json",
    ]
    assert read_state(folder) == small_state(1, note="猫")
    manifest = Manifest.read(folder)
    for name, parameter in engine.parameters().items():
        master = engine.full_state(parameter)["master"]
        assert torch.equal(read_master_weight(folder / manifest.parameters[name], name), master)
        assert torch.equal(parameter, master.bfloat16())


def test_the_last_ones_and_every_nth_are_kept(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    keeper = checkpoints(tmp_path, alone, keep_last=2, keep_every=4)
    for step in range(1, 8):
        keeper.save(engine, step, small_state(step))
    assert steps_in(tmp_path) == ["step-00000004", "step-00000006", "step-00000007"]


def test_first_checkpoint_after_each_multiple_is_kept() -> None:
    settings = CheckpointSettings(every=30, keep_last=1, keep_every=100)
    saved = [*range(30, 240, 30), 125]  # 125: before a preemption
    assert superseded(saved, settings) == [30, 60, 90, 125, 150, 180]
    assert superseded([120], settings) == []


def test_leftovers_of_a_broken_save_do_not_hinder_the_next(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    for name in (".step-00000003.partial", ".step-00000001.removing", ".step-00000003.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rank-00000.safetensors").write_bytes(b"half")
    keeper = checkpoints(tmp_path, alone)
    assert keeper.newest() is None  # nothing was ever saved: a fresh start
    keeper.save(engine, 3, small_state(3))
    assert steps_in(tmp_path) == ["step-00000003"]


def test_a_torn_checkpoint_is_replaced_when_its_step_comes_again(
    engine: Engine, alone: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = checkpoints(tmp_path, alone)
    keeper.save(engine, 1, small_state(1))
    (keeper.save(engine, 2, small_state(2)) / "state.json").write_bytes(b"{")
    assert keeper.newest() == tmp_path / "step-00000001"
    text = capsys.readouterr().err
    assert "skipped: step-00000002: this checkpoint is incomplete or corrupt: state.js" in text
    with pytest.raises(CheckpointError, match=r"state\.json"):
        keeper.of_step(2)
    keeper.save(engine, 2, small_state(2))
    assert keeper.newest() == tmp_path / "step-00000002"
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002"]


def test_none_whole_is_an_error_and_never_a_fresh_start(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    keeper = checkpoints(tmp_path, alone)
    (keeper.save(engine, 1, small_state(1)) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="a complete checkpoint was requested"):
        keeper.newest()


def test_going_back_sets_later_checkpoints_aside(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    keeper = checkpoints(tmp_path, alone)
    for step in (1, 2, 3):
        keeper.save(engine, step, small_state(step))
    names = keeper.set_aside_after(1)
    assert names == ["abandoned-step-00000003", "abandoned-step-00000002"]
    assert keeper.newest() == tmp_path / "step-00000001"
    keeper.save(engine, 2, small_state(2))
    assert keeper.set_aside_after(1) == ["abandoned-step-00000002-2"]


def test_a_checkpoint_of_another_model_is_refused(
    engine: Engine, alone: Processes, tmp_path: Path
) -> None:
    folder = checkpoints(tmp_path, alone).save(engine, 1, small_state(1))
    with pytest.raises(CheckpointError, match=r"has shape \(32, 64\), in the model \(32, 24\)"):
        checkpoints(tmp_path, alone).load(folder, tiny_engine(hidden_size=24), optimizer_steps=1)


def test_parameters_are_dealt_evenly_and_to_their_holders() -> None:
    sizes = {f"p{index}": 1 + index % 7 for index in range(40)}
    holders = {"p6": 2, "p13": 2}
    writers = assign_writers(sizes, 3, holders)
    assert writers.keys() == sizes.keys()
    assert {name: writers[name] for name in holders} == holders
    loads = [sum(sizes[name] for name in sizes if writers[name] == rank) for rank in range(3)]
    assert max(loads) - min(loads) <= 7
    assert assign_writers(dict(reversed(sizes.items())), 3, holders) == writers
