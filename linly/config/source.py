"""A source: a corpus under its name in a curriculum, and the folder of its shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from linly.config.corpus import Corpus
from linly.config.curriculum import SourceShare
from linly.config.yaml.yaml import Located, Origin

DATA_VARIABLE = "LINLY_DATA"
"""Environment variable with the folder of the data, for a recipe without `data_root`."""


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus as a curriculum uses it.

    Attributes:
        name: Name in the curriculum; part of every seed.
        corpus: Corpus file.
        template: Template in place of the corpus file's; None for its own.
        data_root: Folder that the shards' paths are relative to.
    """

    name: str
    corpus: Corpus
    template: str | None
    data_root: Path


def sources_of(
    shares: Mapping[str, SourceShare], corpora: Mapping[str, Corpus], data_root: Path
) -> dict[str, Source]:
    """Join the shares of a curriculum with their corpora: source name -> source, sorted."""
    return {
        name: Source(name, corpora[share.corpus], share.template, data_root)
        for name, share in sorted(shares.items())
    }


def languages_of(
    shares: Mapping[str, SourceShare], corpora: Mapping[str, Corpus]
) -> dict[str, str]:
    """Language of each source whose corpus is given, such as `zh`, or `en-zh` for parallel text."""
    return {
        name: corpora[share.corpus].language
        for name, share in shares.items()
        if share.corpus in corpora
    }


def with_data_root(tree: Located) -> Located:
    """Take the data root from the environment if the recipe has none."""
    assert isinstance(tree.value, dict)
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or "data_root" in tree.value:
        return tree
    origin = Origin(f"environment variable {DATA_VARIABLE}", None, Path.cwd())
    return Located(tree.value | {"data_root": Located(folder, origin)}, tree.origin)
