"""What comes with linly is named by a list, from which no name leads out."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.shipped import CORPORA, CURRICULA, RECIPES, shipped_names, shipped_path


def test_every_name_stands_for_something_there_is() -> None:
    names = shipped_names()
    assert names["linly:corpora"] == CORPORA and CORPORA.is_dir()
    files = {path for name, path in names.items() if name != "linly:corpora"}
    assert files == {*CURRICULA.glob("*.yaml"), *RECIPES.glob("*.yaml")}
    assert all(shipped_path(name) == path for name, path in names.items())


@pytest.mark.parametrize("name", ["corpora", "", "./linly:corpora", "Linly:corpora"])
def test_other_texts_are_left_to_the_caller(name: str) -> None:
    assert shipped_path(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "linly:",
        "linly:pyproject.toml",
        "linly:corpora/alpaca.yaml",
        "linly:corpora/../README.md",
        "linly:recipes/../recipes/base.yaml",
        "linly:/etc/passwd",
        "linly:recipes/base",
    ],
)
def test_a_name_that_is_not_listed_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not come with linly; allowed: linly:corpora, "):
        shipped_path(name)


def test_a_recipe_finds_its_files_from_its_own_folder() -> None:
    """Recipes name them by `../../`, so a wheel keeps the folders as they are in the repository."""
    assert (RECIPES / "../../corpora").resolve() == CORPORA.resolve()
    assert (RECIPES / "../../curricula").resolve() == CURRICULA.resolve()
    assert Path(CORPORA).is_absolute()
