"""`linly schema`: the JSON schema of a kind of file, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from linly.config.yaml.json_forms import JsonSchema

FileKind = Literal["recipe", "curriculum", "corpus"]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def schema(
    kind: Annotated[FileKind, typer.Argument(help="Kind of file.")],
) -> None:
    """Print the JSON schema of a kind of file, with which editors check and complete keys.

    It accepts every file that linly accepts. Rules over several keys, such as shares that add up
    to 100%, are checked by `linly plan` and `linly check` only.
    """
    import orjson

    text = orjson.dumps(file_schema(kind), option=orjson.OPT_INDENT_2).decode()
    try:
        print(text)
    except OSError as error:  # it is larger than the buffer that `main` flushes
        raise OSError(error.errno, error.strerror, "standard output") from error


def file_schema(kind: FileKind) -> JsonSchema:
    """Build the JSON schema of a kind of file."""
    from linly.config.corpus import Corpus
    from linly.config.curriculum import Curriculum
    from linly.config.recipe import Recipe
    from linly.config.yaml.strict_model import Settings

    models: dict[FileKind, type[Settings]] = {
        "recipe": Recipe,
        "curriculum": Curriculum,
        "corpus": Corpus,
    }
    return {"$schema": _DIALECT, "title": f"linly {kind}"} | models[kind].model_json_schema()
