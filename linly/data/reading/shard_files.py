"""A shard as its reader sees it: files and reading options."""

from __future__ import annotations

from dataclasses import dataclass

from linly.storage.retries import PATIENT, Retries
from linly.storage.urls import Location
from linly.streams import UTF8


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """Input of a reader.

    Attributes:
        paths: File of the shard; for Moses pairs, one file per language.
        names: Column names of tsv and csv, empty if the first line contains them; for Moses, the
            languages of `paths`; else empty.
        columns: Paths of the requested fields (columnar files leave the others unread; tmx:
            languages).
        optional_columns: Paths of fields that are read if they exist.
        start_record: First record to return.
        encoding: Encoding of text formats.
        retries: Retry policy for the storage.
        delimiter: Character between the cells of csv.
        escape: Character that escapes the next one in csv; None if there is none.
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
