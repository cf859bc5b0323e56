"""A checkpoint is whole or it is not one."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import save_file

from linly.errors import CheckpointError
from linly.training.checkpoints.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    folder_name,
    list_checkpoints,
    parse_step,
    verified,
)
from linly.training.engine.optimizers import optimizer_kind
from linly.training.engine.randomness import capture_random_states
from tests.support.small_state import small_state

STATE_KEYS = optimizer_kind("adamw").state_keys

FILES = ("rank-00000.safetensors", "rank-00001.safetensors", "random-00000.safetensors")


def make_checkpoint(checkpoints: Path, step: int) -> Path:
    folder = checkpoints / folder_name(step)
    folder.mkdir(parents=True)
    for name, parameter in zip(FILES, ("a", "b"), strict=False):
        tensors = {f"{key}.{parameter}": torch.full((4,), float(step)) for key in STATE_KEYS}
        save_file(tensors, folder / name)
    save_file(capture_random_states(), folder / FILES[2])
    (folder / "state.json").write_bytes(orjson.dumps(small_state(step)))
    files = {name: FileEntry.of(folder / name) for name in (*FILES, "state.json")}
    Manifest(step, files, {"a": FILES[0], "b": FILES[1]}).write(folder)
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x04
    path.write_bytes(data)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    make_checkpoint(tmp_path, 90)
    make_checkpoint(tmp_path, 100)
    return tmp_path


def test_the_newest_whole_one_is_latest(checkpoints: Path) -> None:
    folder, manifest = verified(checkpoints, None)
    assert (folder.name, manifest.step) == ("step-00000100", 100)


@pytest.mark.parametrize("name", [*FILES, "state.json", MANIFEST])
@pytest.mark.parametrize("damage", [truncate, empty, flip_a_byte, Path.unlink])
def test_a_torn_one_is_skipped_and_refused_by_name(
    checkpoints: Path, name: str, damage: object
) -> None:
    assert callable(damage)
    damage(checkpoints / "step-00000100" / name)
    assert verified(checkpoints, None)[0].name == "step-00000090"
    with pytest.raises(CheckpointError, match="step-00000100"):
        verified(checkpoints, 100)


def test_no_byte_of_a_manifest_can_be_flipped_unseen(checkpoints: Path) -> None:
    path = checkpoints / "step-00000100" / MANIFEST
    whole = path.read_bytes()
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x01
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            Manifest.read(path.parent)


def test_none_whole_is_an_error_that_names_all(checkpoints: Path) -> None:
    truncate(checkpoints / "step-00000100" / "state.json")
    flip_a_byte(checkpoints / "step-00000090" / FILES[1])
    with pytest.raises(CheckpointError, match=r"step-00000100.*step-00000090"):
        verified(checkpoints, None)


def test_a_missing_step_names_those_there(checkpoints: Path) -> None:
    with pytest.raises(CheckpointError, match=r"step-00000095 .*step-00000100, step-00000090"):
        verified(checkpoints, 95)


@pytest.mark.parametrize(
    "name", ["../step-00000090/state.json", "/etc/passwd", "evil.pt", "rank-00000.bin", "a\0b"]
)
def test_a_manifest_names_files_of_its_own_kind_only(tmp_path: Path, name: str) -> None:
    folder = make_checkpoint(tmp_path, 5)
    Manifest(5, {name: FileEntry(1, "0" * 64)}, {}).write(folder)
    with pytest.raises(CheckpointError, match="refused"):
        Manifest.read(folder)


def test_a_manifest_of_another_step_or_format_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, 5)
    folder.rename(tmp_path / folder_name(6))
    with pytest.raises(CheckpointError, match="that of step 5"):
        Manifest.read(tmp_path / folder_name(6))
    (tmp_path / folder_name(6) / MANIFEST).write_bytes(
        orjson.dumps({"format": 99, "step": 6, "files": {}, "parameters": {}, "sha256": ""})
    )
    with pytest.raises(CheckpointError, match="format 99"):
        Manifest.read(tmp_path / folder_name(6))


def test_hidden_and_other_folders_are_no_checkpoints(checkpoints: Path) -> None:
    (checkpoints / ".step-00000110.partial").mkdir()
    (checkpoints / "abandoned-step-00000120").mkdir()
    names = [path.name for path in list_checkpoints(checkpoints)]
    assert names == ["step-00000100", "step-00000090"]


@pytest.mark.parametrize("text", ["200", "step-200", "step-00000200"])
def test_a_step_may_be_written_in_three_ways(text: str) -> None:
    assert parse_step(text) == 200


@pytest.mark.parametrize("text", ["", "latest", "step-", "step--1", "2.0"])
def test_anything_else_is_no_step(text: str) -> None:
    with pytest.raises(CheckpointError, match="step-N"):
        parse_step(text)
