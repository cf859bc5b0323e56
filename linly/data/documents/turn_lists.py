"""Lists of turns in the forms that datasets have: a list, JSON in a text, an object of lists."""

from __future__ import annotations

from typing import Any

import orjson


def turns_of(value: object) -> list[Any] | None:
    """Return the turns of a value, None if it is no list of them.

    Args:
        value: A list; a text that holds one as JSON; or an object of lists of one length, one a
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
