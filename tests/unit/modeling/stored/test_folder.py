"""A model folder appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.modeling.stored.folder import new_folder


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "model"
    with new_folder(target) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "model") as folder:
        (folder / "file").write_text("x")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        (folder / "file").write_text("x")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "file"):
        with pytest.raises(ConfigError, match="exists already"), new_folder(taken):
            pass
