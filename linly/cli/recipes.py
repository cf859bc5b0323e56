"""`linly recipes`: the recipes that come with linly, and copies of them to edit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from linly.cli.printed_table import print_table
from linly.cli.recipe_files import recipe_files
from linly.config.recipe import load_recipe
from linly.config.yaml.strict_model import unknown
from linly.config.yaml.yaml import read_yaml
from linly.errors import ConfigError
from linly.files import publish
from linly.shipped import RECIPES, ROOT


def register(app: typer.Typer) -> None:
    """Add `linly recipes ...`."""
    recipes = typer.Typer(no_args_is_help=True, help="List and copy the recipes of linly.")
    recipes.command("list")(list_recipes)
    recipes.command("copy")(copy)
    app.add_typer(recipes, name="recipes")


def list_recipes() -> None:
    """List the recipes that come with linly.

    A command takes one as `linly:recipes/NAME.yaml`, and `extends:` of your own recipe does, too.
    """
    from linly.curriculum.wording import amount

    rows = []
    for name, path in _recipes().items():
        recipe = load_recipe(path, ["data_root=."])
        curriculum, trained = recipe.curriculum, recipe.training.optimized.kind
        rows.append((name, amount(curriculum.tokens), trained, curriculum.name, _about(path)))
    print_table(("name", "tokens", "trains", "curriculum", "about"), rows)


def copy(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a recipe (see `linly recipes list`).")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to copy to.")] = Path("."),
) -> None:
    """Copy a recipe with all that it names, to edit: its base, curriculum and corpora.

    The folder gets launch/recipes, curricula and corpora, as in linly's repository. Files of yours
    that are there already are kept.
    """
    recipes = _recipes()
    if name not in recipes:
        raise ConfigError(unknown("recipe", name, recipes))
    files = {
        folder / path.relative_to(ROOT): path.read_bytes() for path in recipe_files(recipes[name])
    }
    recipe = next(iter(files))
    present = {path for path in files if path.exists()}
    edited = [path for path in files if path in present and path.read_bytes() != files[path]]
    if recipe in edited:
        raise ConfigError(
            f"{recipe} exists and differs from the recipe that comes with linly; copy to another "
            "folder, or rename yours"
        )
    for path, data in files.items():
        if path not in present:
            path.parent.mkdir(parents=True, exist_ok=True)
            publish(path, data)
    for path in edited:
        typer.echo(f"kept: {path}, which differs from the one that comes with linly")
    typer.echo(f"{folder}: {len(files) - len(present)} files copied, {len(present)} were there")
    typer.echo(f"next: linly plan {shlex.quote(str(recipe))}")


def _recipes() -> dict[str, Path]:
    """Recipes by name; a file without `run` is only for others to extend."""
    paths = sorted(RECIPES.glob("*.yaml"))
    return {path.stem: path for path in paths if read_yaml(path).get("run") is not None}


def _about(path: Path) -> str:
    """Return the first sentence of a file's comments."""
    with path.open(encoding="utf-8") as file:
        line, _, _ = file.readline().lstrip("# ").rstrip(".\n").partition(". ")
    return line
