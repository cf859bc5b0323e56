"""Weight files of a model folder are inside it; in the hub's cache, they are links to its blobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.modeling.stored.weight_files import weight_path

NAME = "model.safetensors"


def snapshot(cache: Path, target: Path) -> Path:
    """A folder of the hub's cache with a link to a file."""
    folder = cache / "models--org--name" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"weights")
    (folder / NAME).symlink_to(target)
    return folder


def test_links_to_the_blobs_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, tmp_path / "models--org--name" / "blobs" / "b")
    assert weight_path(folder, NAME).read_bytes() == b"weights"


def test_links_out_of_the_hub_cache_are_refused(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, tmp_path / "models--org--other" / "blobs" / "b")
    with pytest.raises(ConfigError, match="leads out of"):
        weight_path(folder, NAME)
    with pytest.raises(ConfigError, match="without '\\.\\.'"):
        weight_path(folder, "../b")


def test_links_out_of_another_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights").write_bytes(b"")
    (folder / NAME).symlink_to(tmp_path / "weights")
    with pytest.raises(ConfigError, match="leads out of"):
        weight_path(folder, NAME)
