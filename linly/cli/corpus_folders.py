"""The option `--corpora`: folders of corpus files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linly.shipped import CORPORA, shipped_path


def default_folders() -> list[Path]:
    """Return `corpora/` of the working directory; without it, the corpora that come with linly."""
    here = Path("corpora")
    return [here] if here.is_dir() else [CORPORA]


def _resolve(folders: list[Path]) -> list[Path]:
    """Replace `linly:corpora` with its path."""
    return [shipped_path(str(folder)) or folder for folder in folders]


CorpusFolders = Annotated[
    list[Path],
    typer.Option(
        "--corpora",
        metavar="FOLDER",
        default_factory=default_folders,
        show_default="corpora, or linly:corpora without it",
        callback=_resolve,
        help="Folder of corpus files; linly:corpora is that of linly. Repeatable.",
    ),
]
