"""The shard list of a source as a run pins it: `shards/SOURCE.jsonl`, one shard a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import orjson

from linly.data.types import Shard
from linly.errors import DataError


def shard_lines(shards: Iterable[Shard]) -> bytes:
    """A shard list in its file form."""
    return b"".join(orjson.dumps(asdict(shard)) + b"\n" for shard in shards)


def read_shard_list(path: Path) -> tuple[Shard, ...]:
    """Read a pinned shard list.

    Raises:
        DataError: If it cannot be read, or a line is not a shard.
    """
    try:
        return tuple(Shard(**orjson.loads(line)) for line in path.read_bytes().splitlines())
    except (OSError, orjson.JSONDecodeError, TypeError) as error:
        raise DataError(
            f"{path}: the pinned shard list cannot be read: {error}; restore the file from a "
            "backup, or start another run with run=PATH"
        ) from error
