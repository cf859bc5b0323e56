"""Our reading and writing of safetensors agrees with the library's, and refuses damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from linly.errors import ConfigError
from linly.modeling.stored.tensor_files import Outgoing, TensorFile, tensor_bytes, write_tensor_file

TENSORS = {
    "matrix": torch.arange(12, dtype=torch.float32).reshape(4, 3),
    "half": torch.arange(6).reshape(3, 2).to(torch.bfloat16),
    "counts": torch.arange(5),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"format": "pt"})
    return tmp_path / "a.safetensors"


def test_a_copied_file_holds_the_same_tensors(path: Path) -> None:
    copy = path.with_name("b.safetensors")
    with TensorFile(path) as source:
        outgoing = {
            name: Outgoing(e.dtype, e.shape, e.num_bytes, source.chunks(e.start, e.num_bytes))
            for name, e in source.entries.items()
        }
        write_tensor_file(copy, outgoing, source.metadata)
    loaded = load_file(copy)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], TENSORS[name]) for name in TENSORS)
    assert path.stat().st_size == copy.stat().st_size


def test_rows_are_read_by_number(path: Path) -> None:
    with TensorFile(path) as source:
        assert torch.equal(source.rows("matrix", 1, 3), TENSORS["matrix"][1:3])
        assert torch.equal(source.rows("half", 2, 3), TENSORS["half"][2:3])
        assert source.rows("matrix", 2, 2).shape == (0, 3)


def test_tensor_bytes_are_what_the_library_stores(path: Path) -> None:
    with TensorFile(path) as source:
        for name, entry in source.entries.items():
            stored = b"".join(source.chunks(entry.start, entry.num_bytes))
            assert stored == tensor_bytes(TENSORS[name])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:5],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"x" + data[9:],
        lambda data: data.replace(b'"shape":[4,3]', b'"shape":[9,3]'),
        lambda data: b"",
    ],
)
def test_a_damaged_file_is_refused(path: Path, damage) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match=r"a\.safetensors"), TensorFile(path):
        pass
