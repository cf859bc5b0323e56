"""The program's frame: which commands exist, how errors reach the user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from linly import __version__
from linly.cli import main as main_module
from linly.cli.main import COMMAND_MODULES, build_app, main
from linly.errors import DataError


def run_linly(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linly.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_module_is_registered() -> None:
    folder = Path(main_module.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "\ndef register(" in path.read_text()}
    assert set(COMMAND_MODULES) == modules
    command = typer.main.get_command(build_app())
    assert set(COMMAND_MODULES) == set(command.commands)  # type: ignore[attr-defined]


def test_help_lists_the_commands() -> None:
    done = run_linly("--help")
    assert done.returncode == 0
    for name in COMMAND_MODULES:
        assert name in done.stdout


@pytest.mark.parametrize("module", ["linly", "linly.cli.main"])
def test_the_version_is_printed(module: str) -> None:
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"linly {__version__}\n"


def test_a_user_error_is_one_line_on_stderr_with_exit_code_1(tmp_path: Path) -> None:
    done = run_linly("plan", str(tmp_path / "none.yaml"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run_linly("smaple")
    assert done.returncode == 2
    assert "smaple" in done.stderr


def test_an_unexpected_error_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_module, "build_app", lambda: raising(KeyError("ours")))
    with pytest.raises(KeyError, match="ours"):
        main([])


def test_a_linly_error_of_any_kind_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "build_app", lambda: raising(DataError("shard x is torn")))
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 1
    assert capsys.readouterr().err == "error: shard x is torn\n"


def raising(error: Exception) -> typer.Typer:
    """An app whose only command raises."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app
