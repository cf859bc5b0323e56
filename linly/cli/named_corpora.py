"""A corpus by its name or file, and the option `--data-root`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from linly.config.corpus import Corpus, load_corpus, make_corpus
from linly.config.yaml.yaml import read_yaml

DataRoot = Annotated[Path, typer.Option(envvar="LINLY_DATA", help="Folder of the shards.")]


def find_corpus(corpus: str, folders: Sequence[Path]) -> Corpus:
    """Read the corpus file that is given, or that of a name in the folders."""
    path = Path(corpus)
    if path.suffix == ".yaml":
        return make_corpus(path.stem, read_yaml(path))
    return load_corpus(corpus, folders)
