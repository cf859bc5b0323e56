"""All texts of the real data, read without the data path that is tested elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def texts_of(path: Path) -> Iterator[str]:
    """All strings of a data file."""
    name, data = path.name, path.read_bytes()
    if name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    elif name.endswith(".gz"):
        data = gzip.decompress(data)
    name = re.sub(r"\.(zst|gz)$", "", name)
    if name.endswith(".parquet"):
        yield from pq.read_table(path).column("content").to_pylist()
    elif name.endswith(".jsonl"):
        for line in data.decode().split("\n"):
            if line.strip():
                yield from strings(json.loads(line))
    elif name.endswith(".json"):
        yield from strings(json.loads(data))
    else:
        yield from data.decode().split("\n")


def all_texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".md", ".model"):
            yield from texts_of(path)


@cache
def some_texts(folder: Path, every: int) -> list[str]:
    """By chance: records are several strings each, and each 40th would be the same field."""
    draw = random.Random(every)
    return [text for text in all_texts(folder) if draw.random() * every <= 1]
