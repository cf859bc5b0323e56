"""`linly launch` refuses what cannot train before it starts a launcher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.training.ranks import job
from tests.support.commands import linly
from tests.support.tiny_corpora import write_corpora

HOSTFILES = {
    "hosts": "a slots=1\n",
    "two": "a slots=1\nb slots=1\n",
    "seven": "a slots=3\nb slots=4\n",
    "bad": "a\n",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Commands of launchers that would have been started; their jobs end with 75."""
    commands: list[Sequence[str]] = []

    def run_job(command: Sequence[str]) -> int:
        commands.append(command)
        return 75

    monkeypatch.setattr(job, "run_job", run_job)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return commands


def test_words_go_to_the_recipe_and_options_to_the_launcher(
    recipe: Path, started: list[Sequence[str]]
) -> None:
    words = ["stop_at_step=2", "--resume", "step-1", "--quiet", "--nproc", "1"]
    assert linly("launch", recipe, *words, "--", "--master_port", "29600", "--no_ssh") == 75
    assert list(started[0][3:]) == [
        *("--num_gpus", "1", "--quiet", "--master_port", "29600", "--no_ssh"),
        *("--module", "linly.launch"),
        *(str(recipe), "stop_at_step=2", "--resume", "step-1", "--quiet"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.lrr=1"], "unknown key 'lrr'"),
        (["--nproc", "7"], "world size 7 does not fit"),
        (["--nproc", "1", "--hostfile", "hosts"], "found --nproc and --hostfile"),
        (["--hostfile", "bad"], "bad:1: found 'a', allowed: NAME slots=GPUS"),
        (["--hostfile", "seven"], "world size 7 does not fit"),
        (["--hostfile", "two"], "pdsh, which starts the ranks of other machines, is not installed"),
        (["--hostfile", "hosts", "evaluation.prompts=[$(id)]"], "into a recipe instead"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    recipe: Path,
    started: list[Sequence[str]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, text in HOSTFILES.items():
        Path(name).write_text(text)
    assert linly("launch", recipe, *words) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert started == []


@pytest.mark.parametrize("words", [[], ["data_root=/elsewhere"]])
def test_other_machines_get_the_data_root_as_a_path(
    recipe: Path, started: list[Sequence[str]], tmp_path: Path, words: list[str]
) -> None:
    """A recipe may take it from a variable, which is not set there."""
    hosts = tmp_path / "hosts"
    hosts.write_text("a slots=1\n")
    assert linly("launch", recipe, *words, "--hostfile", hosts) == 75
    wanted = words or [f"data_root={load_recipe(recipe).data_root}"]
    assert list(started[0])[-2:] == [str(recipe), *wanted]


def test_a_missing_hostfile_is_not_one_machine(
    recipe: Path, started: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """DeepSpeed would only warn, and train here."""
    assert linly("launch", recipe, "--hostfile", "none") == 2
    assert "does not exist" in capsys.readouterr().err
    assert started == []
