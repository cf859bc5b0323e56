"""The files that a recipe is made of: itself, the recipes it extends, curricula and corpora."""

from __future__ import annotations

from pathlib import Path

from linly.config.corpus import corpus_files
from linly.config.yaml.overrides import named_path
from linly.config.yaml.yaml import Located, read_yaml


def recipe_files(path: Path) -> list[Path]:
    """Return the files of a recipe that `load_recipe` accepts, the recipe itself first.

    Folders of corpora are listed whole, so that a copy of the curriculum can be edited to use any
    of their corpora. Files that the recipe overrides are listed as well.
    """
    files: list[Path] = []
    folders: list[Path] = []
    recipe: Path | None = path
    while recipe is not None:
        files.append(recipe)
        tree = read_yaml(recipe)
        files += _named("curriculum", tree)
        folders += _named("corpora", tree)
        recipe = next(iter(_named("extends", tree)), None)
    return [*files, *corpus_files(folders).values()]


def _named(key: str, tree: Located) -> list[Path]:
    """Paths that a key names; none if it is missing, or has its content in the recipe itself."""
    node = tree.get(key)
    if node is None or isinstance(node.value, dict):
        return []
    items = node.value if isinstance(node.value, list) else [node]
    return [named_path(key, item) for item in items]
