"""`linly amend` and `linly fork` as a user calls them, where there is nothing to train."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 1
    return capsys.readouterr().err


def test_something_must_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "amend", tmp_path)
    assert "pass a curriculum file, --relist SOURCE or --drop SOURCE" in text


def test_a_folder_without_a_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("amend", tmp_path, "--drop", "wiki"),
        ("fork", tmp_path, "--step", "4", "--run", tmp_path / "new"),
    ):
        assert f"no run at {tmp_path}" in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint_has_nothing_to_go_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows").mkdir()
    text = refused(capsys, "amend", tmp_path, "--drop", "wiki")
    assert "a complete checkpoint was requested; found none" in text


def test_help_says_what_holds_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    for command, word in (
        ("amend", "stay unchanged"),
        ("fork", "count as steps"),
        ("fork", "consumed but not trained on; repeatable"),
        ("amend", "takes its share; repeatable"),
    ):
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code in (0, None)
        assert word in " ".join(capsys.readouterr().out.replace("│", " ").split())
