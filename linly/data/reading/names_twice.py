"""Detects JSON objects with duplicate field names: parsers silently keep the last value."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import orjson


def name_twice(text: bytes, names: Collection[str]) -> str | None:
    """Return a name that two fields of the object in `text` have, None if there is none.

    Args:
        text: Text of an object that has been parsed before.
        names: Names to look for; names within nested objects do not count.
    """
    if all(_count(text, name) < 2 for name in names):
        return None
    own: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        own[:] = [name for name, _ in pairs]

    try:
        # The outermost object ends last.
        json.loads(text, object_pairs_hook=note, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return next((name for name in names if own.count(name) > 1), None)


def _count(text: bytes, name: str) -> int:
    return sum(map(text.count, _spellings(name)))


@lru_cache(maxsize=1024)
def _spellings(name: str) -> frozenset[bytes]:
    """Return a name as spelled in JSON, in UTF-8 and in ASCII."""
    return frozenset({orjson.dumps(name), json.dumps(name).encode()})
