"""Detects JSON objects with duplicate field names: parsers silently keep the last value."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

_AFTER_NAME = re.compile(rb'"[ \t\r\n]*:')
_BACKSLASH = ord("\\")


def name_twice(text: bytes, value: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Return a name that two fields of one object have, None if there is none.

    The names of the outermost object are looked at, and all names of the objects within the
    values that are looked at.

    Args:
        text: Text of an object.
        value: The object as parsed from `text`.
        names: Fields of the outermost object to look at.
    """
    if not _may_repeat(text, value):
        return None
    try:
        whole = json.loads(text, object_pairs_hook=_Fields, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    own = [name for name, _ in whole]
    if twice := next((name for name in names if own.count(name) > 1), None):
        return twice
    return _twice_inside([inner for name, inner in whole if name in names])


class _Fields(list[tuple[str, Any]]):
    """Fields of an object, in the order of the text."""


def _may_repeat(text: bytes, value: Mapping[str, Any]) -> bool:
    """Return whether `text` may have more names than `value`; False is certain."""
    num_names = _num_names(value)
    if len(_AFTER_NAME.findall(text)) == num_names:
        return False
    ends = (match.start() for match in _AFTER_NAME.finditer(text))
    return sum(not _is_escaped(text, end) for end in ends) != num_names


def _is_escaped(text: bytes, quote: int) -> bool:
    """Return whether an odd number of backslashes makes a quote a character of a text."""
    start = quote
    while text[start - 1] == _BACKSLASH:
        start -= 1
    return (quote - start) % 2 == 1


def _num_names(value: Any) -> int:
    """Return the number of fields of an object and of all objects inside it."""
    count, rest = 0, [value]
    while rest:
        found = rest.pop()
        if isinstance(found, dict):
            count += len(found)
            found = found.values()
        rest += [inner for inner in found if isinstance(inner, dict | list)]
    return count


def _twice_inside(rest: list[Any]) -> str | None:
    while rest:
        found = rest.pop()
        if isinstance(found, _Fields):
            names = [name for name, _ in found]
            if len(set(names)) < len(names):
                return next(name for name in names if names.count(name) > 1)
            found = [inner for _, inner in found]
        if isinstance(found, list):
            rest += found
    return None
