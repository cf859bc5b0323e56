"""`linly recipes`: what comes with linly is listed, and a copy of it works and can be edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from tests.support.commands import linly, linly_ok

RECIPE = Path("launch/recipes/linly-llama2-7b.yaml")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINLY_DATA", str(tmp_path / "data"))
    return tmp_path


def test_list_says_what_each_recipe_trains(capsys: pytest.CaptureFixture[str]) -> None:
    linly_ok("recipes", "list")
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "5B" in lines["linly-llama2-7b"] and "full" in lines["linly-llama2-7b"]
    assert "lora" in lines["chinese-alpaca-7b"]
    assert "base" not in lines  # others extend it; it is no run by itself


def test_a_copied_recipe_loads_and_uses_the_copies(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linly_ok("recipes", "copy", "linly-llama2-7b", ".")
    assert f"next: linly plan {RECIPE}" in capsys.readouterr().out
    corpus = Path("corpora/slimpajama.yaml")
    corpus.write_text(corpus.read_text().replace("language: en", "language: fr"))
    curriculum = Path("curricula/linly-llama2.yaml")
    curriculum.write_text(curriculum.read_text().replace("tokens: 5B", "tokens: 7B"))
    recipe = load_recipe(RECIPE)
    assert recipe.corpora["slimpajama"].language == "fr"
    assert recipe.curriculum.tokens == 7_000_000_000
    assert recipe.model == here / "models" / "llama2-7b-zh"


def test_a_second_copy_keeps_the_files_of_the_user(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linly_ok("recipes", "copy", "linly-llama2-7b")
    corpus = Path("corpora/slimpajama.yaml")
    corpus.write_text("mine")
    capsys.readouterr()
    linly_ok("recipes", "copy", "linly-llama2-13b")
    said = capsys.readouterr().out
    assert corpus.read_text() == "mine"
    assert f"kept: {corpus}, which differs" in said and said.count("kept") == 1
    assert ".: 1 files copied" in said


def test_an_edited_recipe_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RECIPE.parent.mkdir(parents=True)
    RECIPE.write_text("mine")
    assert linly("recipes", "copy", "linly-llama2-7b") == 1
    assert f"{RECIPE} exists and differs" in capsys.readouterr().err
    assert RECIPE.read_text() == "mine"
    assert not Path("corpora").exists()


def test_an_unknown_recipe_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert linly("recipes", "copy", "linly-llama-7b") == 1
    assert "did you mean 'linly-llama2-7b'?" in capsys.readouterr().err
