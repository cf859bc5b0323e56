"""Folders with corpora, a curriculum and a recipe, and the stream of rows that they describe."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from linly.config.recipe import Recipe
from linly.data.mixing.stream_plan import StreamPlan, stream_plan
from linly.data.reading.shards import Shard, list_shards


def write_world(folder: Path, *, corpora: Mapping[str, str], curriculum: str, recipe: str) -> Path:
    """Write corpus files, a curriculum and a recipe; data belongs in `FOLDER/data`.

    Args:
        folder: Folder of the world.
        corpora: Name -> corpus file.
        curriculum: Curriculum file.
        recipe: Recipe file without `curriculum`, `corpora` and `data_root`.

    Returns:
        The recipe file.
    """
    for name, text in corpora.items():
        _write(folder / "corpora" / f"{name}.yaml", text)
    _write(folder / "curriculum.yaml", curriculum)
    places = "curriculum: curriculum.yaml\ncorpora: [corpora]\ndata_root: data\n"
    return _write(folder / "recipe.yaml", places + textwrap.dedent(recipe))


def write_records(path: Path, records: Iterable[object]) -> None:
    """Write a shard of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def shards_of(recipe: Recipe) -> dict[str, tuple[Shard, ...]]:
    """The shards of a recipe's sources that are there now."""
    return {
        name: list_shards(source.corpus, source.data_root)
        for name, source in recipe.sources.items()
    }


def plan_of(recipe: Recipe, tokenizer_path: Path) -> StreamPlan:
    """The stream that a recipe describes, over the shards that are there now."""
    return stream_plan(recipe, tokenizer_path, shards_of(recipe))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path
