"""A span of a row: where its tokens come from."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """Origin of a part of a row: tokens [start, end) of one record's document.

    Attributes:
        shard: Path of the shard, relative to the data root, or its URL.
        record: Position of the record in its shard.
        start: First token of the record's document in this row.
        end: One past the last token.
    """

    shard: str
    record: int
    start: int
    end: int
