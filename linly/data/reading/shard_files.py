"""A shard as its reader sees it: files, and what is wanted of them."""

from __future__ import annotations

from dataclasses import dataclass

from linly.storage.retries import PATIENT, Retries
from linly.storage.urls import Location
from linly.streams import UTF8


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """What a reader needs to know of a shard.

    Attributes:
        paths: Its file; Moses pairs: one a language.
        names: tsv, csv: the column names, empty when the first line holds them; Moses: the
            languages of `paths`; else empty.
        columns: Paths of the fields that are asked for (columnar files leave the others unread;
            tmx: languages).
        optional_columns: Those that are read where they are there.
        start_record: First record to give.
        encoding: Of formats that are text.
        retries: Patience with the storage.
        delimiter: csv: character between the cells.
        escape: csv: character that takes the meaning of the one after it; None for none.
    """

    paths: tuple[Location, ...]
    names: tuple[str, ...]
    columns: tuple[str, ...]
    optional_columns: tuple[str, ...]
    start_record: int
    encoding: str = UTF8
    retries: Retries = PATIENT
    delimiter: str = ","
    escape: str | None = None
