"""Scalars of steps and evaluations, with the same keys for every tracker.

The keys are the tags of the metrics' table (`linly.records.metrics`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from linly.records.metrics import MeasuredRecord, metrics_of

_NOT_IN_A_NAME = re.compile(r"[^\w-]")


def scalars_of(record: MeasuredRecord) -> dict[str, float]:
    """Scalars of a step or an evaluation by key; None values are omitted."""
    return {key: float(value) for key, value in _tagged(record, "") if value is not None}


def _tagged(record: MeasuredRecord, name: str) -> Iterator[tuple[str, float | None]]:
    """(key, value) of a record and of the records in it; `name` is that of a nested record."""
    for key, value in _own_and_nested(record, name):
        yield record.TAG_PREFIX + key, value


def _own_and_nested(record: MeasuredRecord, name: str) -> Iterator[tuple[str, float | None]]:
    for attribute, entry in metrics_of(type(record)).items():
        if entry.tag is None:
            continue
        value = getattr(record, attribute)
        values = value if isinstance(value, Mapping) else {name: value}
        for source, one in values.items():
            yield entry.tag.format(key_of(source)), one
    for nested_name, nested in _nested(record):
        yield from _tagged(nested, nested_name)


def _nested(record: Any) -> Iterator[tuple[str, MeasuredRecord]]:
    """(name, record) of the records in a record; the name is that of a source or language."""
    for field in fields(record):
        value = getattr(record, field.name)
        values = value if isinstance(value, Mapping) else {field.name: value}
        for name, one in values.items():
            if isinstance(one, MeasuredRecord):
                yield name, one


def key_of(name: str) -> str:
    """A name quoted for a key: letters, digits, '_' and '-' are kept, other bytes become %XX."""

    def quoted(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    return _NOT_IN_A_NAME.sub(quoted, name)
