"""`linly slurm`: the script is sound shell, carries the words as they are, and fits the recipe."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from linly.cli.main import main
from tests.support.tiny_world import make_tiny_world

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_world(tmp_path_factory.mktemp("world"))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        main(["slurm", *arguments])
    text = capsys.readouterr()
    assert leaving.value.code == 0, text.err
    return text.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        main(["slurm", *arguments])
    assert leaving.value.code == 1
    return capsys.readouterr().err


def test_the_script_asks_for_the_nodes_and_saves_before_the_limit(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = printed(
        capsys, str(recipe), "--nodes", "2", "--gpus-per-node", "2", "--time", "2-00:00:00",
        "--grace-s", "300", "--partition", "long",
    )  # fmt: skip
    settings = dict(
        line.removeprefix("#SBATCH --").split("=", 1)
        for line in script.splitlines()
        if line.startswith("#SBATCH") and "=" in line
    )
    assert settings["nodes"] == "2"
    assert settings["ntasks-per-node"] == settings["gpus-per-node"] == "2"
    assert settings["time"] == "2-00:00:00"
    assert settings["signal"] == "TERM@300"
    assert settings["partition"] == "long"
    assert "account" not in settings


def run_with_stand_ins(script: str, folder: Path, code: int) -> subprocess.CompletedProcess[str]:
    """Run a script with an srun that writes its words down and ends with `code`."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, body in (
        ("srun", f'printf "%s\\0" "$@" > "{folder}/words"; exit {code}'),
        ("scontrol", f'echo "$@" > "{folder}/scontrol"'),
    ):
        tool = folder / "bin" / name
        tool.write_text(f"#!/bin/bash\n{body}\n")
        tool.chmod(0o755)
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_ID": "7",
    }
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def test_the_words_reach_the_trainer_as_they_are(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "evaluation.prompts=['$(touch owned) `x` \"y\"']"
    script = printed(capsys, str(recipe), hostile, "--gpus-per-node", "2")
    done = run_with_stand_ins(script, tmp_path, 0)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "words").read_text().split("\0")[:-1]
    assert words == ["--kill-on-bad-exit=1", "linly", "train", str(recipe), hostile]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("folder", ["here/.venv/bin", "else where/bin"])
def test_the_programs_are_those_of_the_environment_that_printed_it(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
) -> None:
    """The folder is written relative to the working directory where it is below it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "executable", str(tmp_path / folder / "python"))
    script = printed(capsys, str(recipe), "--gpus-per-node", "2")
    assert (str(tmp_path) in script.replace(str(recipe), "")) is ("else" in folder)
    echoed = script.replace("srun", "echo ${PATH} #")
    done = run_with_stand_ins(echoed, tmp_path / "here", 0)
    assert done.stdout.startswith(f"{tmp_path / folder}:"), done.stderr


@pytest.mark.parametrize(("code", "is_queued"), [(75, True), (1, False), (0, False)])
def test_only_a_saved_run_is_queued_again(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, is_queued: bool
) -> None:
    done = run_with_stand_ins(printed(capsys, str(recipe), "--gpus-per-node", "2"), tmp_path, code)
    assert done.returncode == code
    assert (tmp_path / "scontrol").exists() is is_queued
    if is_queued:
        assert (tmp_path / "scontrol").read_text() == "requeue 7\n"


def test_a_number_of_ranks_that_does_not_fit_is_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refused(capsys, str(recipe), "--nodes", "3", "--gpus-per-node", "1")
    assert "world size 3 does not fit data.global_batch 8" in text


@pytest.mark.parametrize(
    ("option", "value"),
    [("--time", "soon"), ("--partition", "a b"), ("--account", "x\n#SBATCH --nodes=9")],
)
def test_what_would_break_the_script_is_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    text = refused(capsys, str(recipe), "--gpus-per-node", "2", option, value)
    assert option in text and repr(value) in text


def test_the_example_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LINLY_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv" / "bin" / "python"))
    monkeypatch.chdir(ROOT)
    example = (ROOT / "launch" / "slurm.example.sh").read_text(encoding="utf-8")
    assert printed(capsys, "launch/recipes/linly-llama2-7b.yaml", "--nodes", "8") == example
    assert shlex.split(example, comments=True)
