"""Converts lists of turns from the forms of datasets: lists, JSON in a text, objects of lists."""

from __future__ import annotations

from typing import Any

import orjson


def turns_of(value: object) -> list[Any] | None:
    """Return the turns of a value, None if it is not a list of turns.

    Args:
        value: List; a text that contains one as JSON; or an object of lists of one length, one per
            field (as columnar files store a list of objects).
    """
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            return None
        rows = zip(*value.values(), strict=True)
        return [dict(zip(value, row, strict=True)) for row in rows]
    return value if isinstance(value, list) else None
