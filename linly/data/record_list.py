"""Lists of records to leave out: the parquet files that `exclude_records` names.

    linly corpora scan --> leaks.parquet --> exclude_records of a corpus file --> DocumentMaker

A list names records by corpus, shard and position, as the row record does. Its metadata says which
shards were scanned, with their sizes: the positions hold only for these.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linly.config.corpus import Corpus
from linly.config.sections.record_lists import RecordListFile
from linly.data.types import Shard
from linly.errors import DataError, LinlyError
from linly.files import open_regular, publish, sha256_file

Reason = Literal["leak", "duplicate", "perplexity"]

LIST_VERSION = 1

_METADATA = b"linly.record_list"
_SCHEMA = pa.schema(
    [
        pa.field("corpus", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("shard", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        pa.field("reason", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("task", pa.string()),
        pa.field("question", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("duplicate_of", pa.string()),
    ]
)


class ListedRecord(NamedTuple):
    """A record to leave out, and the reason.

    Attributes:
        corpus: Name of its corpus.
        shard: Path of its shard, as in the row record.
        record: Position in the shard.
        reason: Reason for leaving it out.
        task: Exam of the question that a leak holds; None for other reasons.
        question: Question that a leak holds: `SUBJECT/SPLIT/INDEX`; None for other reasons.
        score: Fraction of the question's n-grams that the record has, similarity to the record
            that is kept, or perplexity.
        duplicate_of: The similar record that is kept: `CORPUS/SHARD:RECORD`; None for others.
    """

    corpus: str
    shard: str
    record: int
    reason: Reason
    task: str | None = None
    question: str | None = None
    score: float | None = None
    duplicate_of: str | None = None


Scanned = Mapping[str, Sequence[Shard]]
"""Corpus name -> shards that a scan has read."""


def write_record_list(
    path: Path, records: Iterable[ListedRecord], scanned: Scanned, settings: Mapping[str, Any]
) -> str:
    """Write a list atomically, sorted by corpus, shard and record.

    Args:
        path: Parquet file.
        records: Records to leave out; one may have several reasons.
        scanned: Shards that were read, of each corpus.
        settings: Settings of the scan, for the reader.

    Returns:
        Its sha256.
    """
    ordered = sorted(records, key=lambda r: (*r[:4], r.task or "", r.question or ""))
    columns = {name: [getattr(r, name) for r in ordered] for name in _SCHEMA.names}
    about = {
        "version": LIST_VERSION,
        "settings": settings,
        "scanned": {
            name: [[shard.path, shard.size_bytes] for shard in shards]
            for name, shards in sorted(scanned.items())
        },
    }
    schema = _SCHEMA.with_metadata({_METADATA: orjson.dumps(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
    publish(path, sink.getvalue().to_pybytes())
    return sha256_file(path)


@dataclass(frozen=True, slots=True)
class RecordList:
    """The entries of a list for one corpus.

    Attributes:
        path: File of the list.
        table: Its entries, with the columns of `ListedRecord`.
        scanned: Path -> size in bytes of the corpus's shards that were scanned.
    """

    path: Path
    table: pa.Table
    scanned: Mapping[str, int]

    @property
    def num_records(self) -> int:
        """Number of different records in it."""
        return sum(len(set(found)) for found in self.by_shard().values())

    def by_shard(self) -> dict[str, list[int]]:
        """Shard -> positions of its records; a record with two reasons is there twice."""
        shards = self.table["shard"].cast(pa.string())
        found: dict[str, list[int]] = {}
        for shard in pc.unique(shards).to_pylist():
            chosen = self.table["record"].filter(pc.equal(shards, shard))
            found[shard] = chosen.to_pylist()
        return found


def read_record_list(path: Path, corpus: str, *, sha256: str | None = None) -> RecordList:
    """Read the entries of one corpus.

    Args:
        path: File of the list.
        corpus: Name of the corpus.
        sha256: Hash that the file must have; None for any.

    Raises:
        DataError: If the file is not a record list, is another one than its hash says, or was made
            without this corpus.
    """
    try:
        with open_regular(path) as stream:
            data = stream.read()
    except (OSError, LinlyError) as error:
        raise DataError(f"record list {path}: cannot be read: {error}") from error
    if sha256 is not None and (now := hashlib.sha256(data).hexdigest()) != sha256:
        raise DataError(
            f"record list {path}: its sha256 is {now}, not {sha256} as when the corpora were read: "
            f"it has changed since; restore the file, or start another run"
        )
    try:
        table = pq.read_table(io.BytesIO(data))
        about = orjson.loads((table.schema.metadata or {})[_METADATA])
        version, scanned = about["version"], about["scanned"]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"record list {path}: found {type(error).__name__}, expected a parquet file that "
            f"`linly corpora scan` wrote"
        ) from error
    if version != LIST_VERSION or not table.schema.equals(_SCHEMA):
        raise DataError(
            f"record list {path}: found version {version!r} of the list, expected {LIST_VERSION}; "
            f"write it again by `linly corpora scan`"
        )
    if corpus not in scanned:
        raise DataError(
            f"record list {path}: corpus {corpus!r} was not scanned for it, only "
            f"{', '.join(scanned)}; scan it too, or remove the list from its corpus file"
        )
    own = table.filter(pc.equal(table["corpus"].cast(pa.string()), corpus))
    return RecordList(path, own, {name: int(size) for name, size in scanned[corpus]})


def list_hashes(corpus: Corpus) -> list[str]:
    """Sha256 of each of a corpus's lists, sorted: their names and order do not matter."""
    return sorted({_hash_of(entry) for entry in corpus.exclude_records.values()})


def _hash_of(entry: RecordListFile) -> str:
    return entry.sha256 if entry.sha256 is not None else sha256_file(entry.path)


class ExcludedRecords:
    """The records that a corpus's lists leave out; 8 bytes each in memory."""

    def __init__(self, corpus: Corpus) -> None:
        """Read the corpus's lists.

        Raises:
            DataError: If one cannot be read, has changed, or was made without this corpus.
        """
        positions: dict[str, set[int]] = {}
        for entry in corpus.exclude_records.values():
            found = read_record_list(entry.path, corpus.name, sha256=entry.sha256)
            for shard, records in found.by_shard().items():
                positions.setdefault(shard, set()).update(records)
        self._positions = {shard: array("q", sorted(found)) for shard, found in positions.items()}

    def __contains__(self, place: tuple[str, int]) -> bool:
        """Whether a record (shard, position) is left out."""
        shard, record = place
        records = self._positions.get(shard)
        if records is None:
            return False
        index = bisect_left(records, record)
        return index < len(records) and records[index] == record

    def __len__(self) -> int:
        """Number of records left out."""
        return sum(map(len, self._positions.values()))


def check_lists(corpus: Corpus, shards: Sequence[Shard]) -> list[str]:
    """Compare a corpus's lists with its shards.

    Returns:
        A line for each list: how many records it leaves out, and how many shards it has not seen.

    Raises:
        DataError: If a list cannot be read, or a shard has changed since it was scanned: the
            positions in the list would be those of other records.
    """
    lines = []
    for name, entry in corpus.exclude_records.items():
        found = read_record_list(entry.path, corpus.name, sha256=entry.sha256)
        check_scanned(found, corpus.name, shards)
        unseen = [shard.path for shard in shards if shard.path not in found.scanned]
        text = f"corpus {corpus.name}: list {name} leaves out {found.num_records:,} records"
        if unseen:
            text += f"; {len(unseen):,} of {len(shards):,} shards were not scanned for it, such as "
            text += unseen[0]
        lines.append(text)
    return lines


def check_scanned(found: RecordList, corpus: str, shards: Sequence[Shard]) -> None:
    """Compare the sizes of shards with those at the scan.

    Raises:
        DataError: If a shard has changed since: the positions would be those of other records.
    """
    for shard in shards:
        size_bytes = found.scanned.get(shard.path, shard.size_bytes)
        if size_bytes != shard.size_bytes:
            raise DataError(
                f"corpus {corpus!r}: shard {shard.path!r} has {shard.size_bytes:,} bytes, but had "
                f"{size_bytes:,} when {found.path} was made; scan the corpus again"
            )
