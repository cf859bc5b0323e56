"""No content of a checkpoint's files, however odd, ends in a traceback or a hang.

The files here agree with their manifest: hashes and sizes are made anew after each change.
"""

from __future__ import annotations

import copy
import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file

from linly.config.recipe import load_recipe
from linly.errors import CheckpointError, LinlyError
from linly.training.checkpoints.checkpoint_files import STATE
from linly.training.checkpoints.manifest import MANIFEST, FileEntry, Manifest, verified
from linly.training.checkpoints.state_form import state_problem
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

RANK, RANDOM = "rank-00000.safetensors", "random-00000.safetensors"
VALUES: tuple[Any, ...] = (None, -1, 0, 2**63, 1.5, "x", "", [], {}, True, [[1]], {"a": None})
SETTINGS = ("data.producers=0", "checkpoint.every=1", "evaluation.every=1")
REFUSAL = "step-00000002: this checkpoint is incomplete or corrupt: "


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, alone: Processes) -> Path:
    """A world and a run in it with checkpoints after steps 1 and 2."""
    recipe = make_tiny_world(tmp_path_factory.mktemp("world"), num_steps=4)
    train(load_recipe(recipe, [*SETTINGS, "stop_at_step=2"]), alone, resume_step=None)
    return recipe


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.parent / "runs" / "tiny", tmp_path / "run"))


@pytest.fixture
def newest(run: Path) -> Path:
    return run / "checkpoints" / "step-00000002"


def seal(folder: Path) -> None:
    """Write the manifest anew, with the hashes of the files as they are."""
    content = orjson.loads((folder / MANIFEST).read_bytes())
    files = {name: FileEntry.of(folder / name) for name in content["files"]}
    Manifest(content["step"], files, content["parameters"]).write(folder)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value, itself first."""
    yield path
    entries = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else entries
    for key, below in items:
        yield from places(below, (*path, key))


def changes(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The value with each of its values replaced by each other one, and left out."""
    for path in places(value):
        for new in VALUES:
            yield path, replaced(value, path, new)
        if path:
            yield path, replaced(value, path, None, leave_out=True)


def replaced(value: Any, path: tuple[Any, ...], new: Any, *, leave_out: bool = False) -> Any:
    if not path:
        return new
    made = copy.copy(value)
    if len(path) > 1:
        made[path[0]] = replaced(value[path[0]], path[1:], new, leave_out=leave_out)
    elif leave_out:
        del made[path[0]]
    else:
        made[path[0]] = new
    return made


def assert_passed_over(newest: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The checkpoint before is taken, with a warning; the one asked for by name is refused."""
    assert verified(newest.parent, None)[0].name == "step-00000001"
    assert f"warning: checkpoint skipped: {REFUSAL}{name}: " in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=f"step-00000002 was requested.*{REFUSAL}{name}: "):
        verified(newest.parent, 2)


# -- files that are something else ---------------------------------------------------------------


def as_link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


THINGS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to nothing": as_link("nowhere"),
    "link to a device": as_link("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link out of the folder": as_link("/etc/passwd"),
}


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", [MANIFEST, STATE, RANK, RANDOM])
def test_what_is_not_a_regular_file_is_never_waited_for(
    newest: Path, name: str, thing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (newest / name).unlink()
    THINGS[thing](newest / name)
    assert verified(newest.parent, None)[0].name == "step-00000001"
    assert f"warning: checkpoint skipped: {REFUSAL}" in capsys.readouterr().err


@pytest.mark.parametrize("thing", ["pipe", "link to nothing", "file"])
def test_what_has_taken_the_place_of_a_checkpoint_is_skipped_by_fork(
    newest: Path, thing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(newest)
    (THINGS | {"file": Path.touch})[thing](newest)
    assert_passed_over(newest, MANIFEST, capsys)


def test_what_has_taken_the_place_of_a_leftover_is_removed(
    world: Path, run: Path, alone: Processes
) -> None:
    (run / "checkpoints" / ".step-00000003.partial").touch()
    (run / "checkpoints" / ".step-00000004.partial").symlink_to("nowhere")
    recipe = load_recipe(world, [f"run={run}", *SETTINGS])
    assert train(recipe, alone, resume_step=None).step == 4
    assert not list((run / "checkpoints").glob(".step*"))


# -- tensors ---------------------------------------------------------------------------------------


def overlapping(path: Path) -> None:
    """Two tensors share their bytes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = orjson.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    same = [n for n in names if header[n]["shape"] == header[names[0]]["shape"]]
    header[same[1]]["data_offsets"] = header[same[0]]["data_offsets"]
    _write(path, header, data[8 + length :])


def half_precision(path: Path) -> None:
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name].half()}, path)


def integers(path: Path) -> None:
    save_file({name: tensor.view(torch.int32) for name, tensor in load_file(path).items()}, path)


def flat(path: Path) -> None:
    tensors = load_file(path)
    name = next(n for n in sorted(tensors) if tensors[n].dim() > 1)
    save_file(tensors | {name: tensors[name].flatten()}, path)


def one_less(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[-1]]
    save_file(tensors, path)


def one_more(path: Path) -> None:
    save_file(load_file(path) | {"master.other": torch.zeros(1)}, path)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def endless_header(path: Path) -> None:
    path.write_bytes((2**63 - 1).to_bytes(8, "little") + path.read_bytes()[8:])


def header_of_nulls(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8:40] = bytes(32)
    path.write_bytes(data)


def header_of_a_list(path: Path) -> None:
    _write(path, [1, 2], b"")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def _write(path: Path, header: Any, data: bytes) -> None:
    encoded = orjson.dumps(header)
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


ANY_TENSORS = (one_less, cut_short, endless_header, header_of_nulls, header_of_a_list, empty)


@pytest.mark.parametrize(
    "change", [overlapping, half_precision, integers, flat, one_more, *ANY_TENSORS]
)
def test_other_tensors_than_the_manifests_are_corrupt(
    newest: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    change(newest / RANK)
    seal(newest)
    assert_passed_over(newest, RANK, capsys)


RANDOM_CHANGES: dict[str, dict[str, Any]] = {
    "torch of another type": {"torch": torch.zeros(5056, dtype=torch.int64)},
    "torch of another length": {"torch": torch.zeros(5, dtype=torch.uint8)},
    "python of another length": {"python": torch.zeros(7, dtype=torch.int64)},
    "python of another shape": {"python": torch.zeros((2, 313), dtype=torch.int64)},
    "python of negative words": {"python": torch.full((626,), -1)},
    "python of floats": {"python": torch.zeros(626)},
    "numpy of long words": {"numpy": torch.full((626,), 2**40)},
    "numpy of another length": {"numpy": torch.zeros(3, dtype=torch.int64)},
    "numpy's number missing": {"numpy_gauss": torch.zeros(0, dtype=torch.float64)},
    "two of python's numbers": {"python_gauss": torch.zeros(2, dtype=torch.float64)},
}


@pytest.mark.parametrize("change", RANDOM_CHANGES)
def test_random_states_of_another_form_are_corrupt(
    newest: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(load_file(newest / RANDOM) | RANDOM_CHANGES[change], newest / RANDOM)
    seal(newest)
    assert_passed_over(newest, RANDOM, capsys)


@pytest.mark.parametrize("change", ANY_TENSORS)
def test_random_states_that_are_not_there_are_corrupt(
    newest: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    change(newest / RANDOM)
    seal(newest)
    assert_passed_over(newest, RANDOM, capsys)


# -- JSON ------------------------------------------------------------------------------------------


def test_no_value_of_a_manifest_raises_anything_but_a_checkpoint_error(newest: Path) -> None:
    content = orjson.loads((newest / MANIFEST).read_bytes())
    for path, changed in changes(content):
        (newest / MANIFEST).write_bytes(orjson.dumps(changed))
        if changed != content:
            with pytest.raises(CheckpointError):
                Manifest.read(newest)
                raise AssertionError(path)


def test_no_value_of_a_manifest_with_a_hash_of_its_own_ends_in_a_traceback(newest: Path) -> None:
    content = orjson.loads((newest / MANIFEST).read_bytes())
    del content["sha256"]
    for path, changed in changes(content):
        if isinstance(changed, dict):
            changed["sha256"] = hashlib.sha256(orjson.dumps(changed)).hexdigest()
        (newest / MANIFEST).write_bytes(orjson.dumps(changed))
        if not isinstance(changed, dict) or any(
            changed.get(key) != content[key] for key in content
        ):
            with pytest.raises(CheckpointError):
                verified(newest.parent, 2)
                raise AssertionError(path)


def test_no_value_of_a_state_ends_in_a_traceback(newest: Path) -> None:
    content = orjson.loads((newest / STATE).read_bytes())
    refused = 0
    for path, changed in changes(content):
        try:
            refused += state_problem(orjson.dumps(changed), step=2) is not None
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error
    assert refused > 1000


def test_a_value_of_another_type_in_a_state_is_corrupt(newest: Path) -> None:
    content = orjson.loads((newest / STATE).read_bytes())
    keys = set(content) - {"recipe"}
    paths = [path for path in places(content) if path and path[0] in keys]
    for path in paths:
        changed = replaced(content, path, [[{"a": "b"}]])
        assert state_problem(orjson.dumps(changed), step=2) is not None, path


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\0" * 100, b"[" * 100_000, b'{"version": 1e999}']
)
def test_state_that_is_not_a_json_object_is_corrupt(
    newest: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (newest / STATE).write_bytes(data)
    seal(newest)
    assert_passed_over(newest, STATE, capsys)


def test_resume_from_an_accepted_state_never_ends_in_a_traceback(
    world: Path, run: Path, newest: Path, alone: Processes, tmp_path: Path
) -> None:
    """A dozen of the changes that the form of a state allows, drawn with a seed."""
    content = orjson.loads((newest / STATE).read_bytes())
    accepted = [
        changed
        for _, changed in changes(content)
        if changed != content and state_problem(orjson.dumps(changed), step=2) is None
    ]
    for index, changed in enumerate(random.Random(4).sample(accepted, 12)):
        again = Path(shutil.copytree(run, tmp_path / f"again-{index}"))
        folder = again / "checkpoints" / newest.name
        (folder / STATE).write_bytes(orjson.dumps(changed))
        seal(folder)
        try:
            recipe = load_recipe(world, [f"run={again}", *SETTINGS, "stop_at_step=3"])
            train(recipe, alone, resume_step=None)
        except LinlyError:
            continue
