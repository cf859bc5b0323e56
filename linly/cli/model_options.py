"""Options that name a model or a vocabulary: a path, or a model on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

_METAVAR = "PATH|ORG/NAME"


def model_option(text: str) -> Any:
    """Declare an option for a model with its weights; `text` is its help."""
    return typer.Option(parser=model_path, metavar=_METAVAR, help=text)


def vocabulary_option(text: str) -> Any:
    """Declare an option for a vocabulary; `text` is its help."""
    return typer.Option(parser=vocabulary_path, metavar=_METAVAR, help=text)


def vocabulary_argument(text: str) -> Any:
    """Declare an argument for a vocabulary; `text` is its help."""
    return typer.Argument(parser=vocabulary_path, metavar=_METAVAR, help=text)


def model_path(text: str) -> Path:
    """Parse an option: a model folder, downloaded with its weights if it is on the hub."""
    from linly.storage.hub import model_folder, model_place

    return model_folder(model_place(text, Path(text)))


def vocabulary_path(text: str) -> Path:
    """Parse an option: a vocabulary's file or folder, downloaded if it is on the hub."""
    from linly.storage.hub import configuration_folder, model_place

    return configuration_folder(model_place(text, Path(text)))
