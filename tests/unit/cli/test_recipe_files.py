"""All files of a recipe are found, through `extends`, without what others need."""

from __future__ import annotations

from pathlib import Path

from linly.cli.recipe_files import recipe_files
from linly.config.recipe import load_recipe
from linly.shipped import CORPORA, CURRICULA, RECIPES


def test_a_recipe_names_its_parents_its_curriculum_and_its_corpora() -> None:
    files = recipe_files(RECIPES / "chinese-alpaca-7b.yaml")
    stages = [f"chinese-llama-7b-stage-{number}.yaml" for number in (2, 1)]
    names = ["chinese-alpaca-7b.yaml", *stages, "base.yaml"]
    assert files[:4] == [RECIPES / name for name in names]
    assert files[4:] == [CURRICULA / "linly-llama2.yaml", *sorted(CORPORA.glob("*.yaml"))]


def test_a_recipe_that_holds_everything_is_one_file(tmp_path: Path, tiny_recipe: Path) -> None:

    resolved = tmp_path / "recipe.yaml"
    resolved.write_text(load_recipe(tiny_recipe).to_yaml(), encoding="utf-8")
    assert recipe_files(resolved) == [resolved]
