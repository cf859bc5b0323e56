"""Builds documents from a source's first records, to detect a wrong corpus file early."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from linly.config.source import Source
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader
from linly.data.types import BadRecord, Document, Filtered, RawRecord, Shard
from linly.errors import DataError

NUM_CHECKED = 32
_LETTER = re.compile(r"[^\W\d_]")


def check_first_records(source: Source, shards: Sequence[Shard]) -> None:
    """Build documents from the first records; error if none of them can be used.

    Raises:
        DataError: If all are bad: names source, shard, record, the requested field, the fields
            found and the corpus file to correct. Also if there is no record, or the first shard is
            damaged.
        ConfigError: If the corpus file's fields or template cannot be read.
    """
    if fault := fault_of_first_records(source, shards):
        raise DataError(f"{fault}; correct the corpus file {source.corpus.name}.yaml")


def fault_of_first_records(source: Source, shards: Sequence[Shard]) -> str | None:
    """Return the reason why none of the first records yields a document; None if one does.

    Raises:
        DataError: If there is no record, or the first shard is damaged.
        ConfigError: If the corpus's fields or template cannot be read.
    """
    first_bad: BadRecord | None = None
    count = 0
    for made in _made(source, shards, NUM_CHECKED):
        if not isinstance(made, BadRecord):
            return None
        first_bad = first_bad or made
        count += 1
    if first_bad is None:
        raise DataError(f"source {source.name!r}: its {len(shards)} shard(s) contain no record")
    return (
        f"source {source.name!r}: none of its first {count} records can be used; record "
        f"{first_bad.record} of {first_bad.shard!r}: {first_bad.reason}"
    )


def fault_of_guess(source: Source, shards: Sequence[Shard]) -> str | None:
    """Return the reason why the first records contradict a guessed corpus file; None if none.

    Most of them must yield documents, most of which must contain words.

    Raises:
        DataError: If there is no record, or the first shard is damaged.
        ConfigError: If the corpus's fields cannot be read.
    """
    if fault := fault_of_first_records(source, shards):
        return fault
    made = list(_made(source, shards, NUM_CHECKED))
    bad = [record for record in made if isinstance(record, BadRecord)]
    texts = [supervised_text(document) for document in made if isinstance(document, Document)]
    if len(bad) > len(texts):
        return (
            f"source {source.name!r}: {len(bad)} of its first {len(bad) + len(texts)} records "
            f"cannot be used; record {bad[0].record} of {bad[0].shard!r}: {bad[0].reason}"
        )
    wordless = [text for text in texts if _LETTER.search(text) is None]
    if 2 * len(wordless) > len(texts):
        return (
            f"source {source.name!r}: most of its documents contain no word, such as "
            f"{wordless[0][:80]!r}"
        )
    return None


def first_documents(source: Source, shards: Sequence[Shard], num_records: int) -> list[Document]:
    """Return the documents of the first records; held-out and bad records are left out."""
    made = _made(source, shards, num_records)
    return [document for document in made if isinstance(document, Document)]


def supervised_text(document: Document) -> str:
    """Return the text of a document that carries loss."""
    return "".join(segment.text for segment in document.segments if segment.supervised)


def _made(
    source: Source, shards: Sequence[Shard], num_records: int
) -> Iterator[Document | BadRecord | Filtered]:
    maker = DocumentMaker(source)
    for shard, raw in islice(_records(source, shards), num_records):
        yield maker.make(shard.path, raw, epoch=0)


def _records(source: Source, shards: Sequence[Shard]) -> Iterator[tuple[Shard, RawRecord]]:
    reader = ShardReader(source.corpus, source.data_root)
    for shard in shards:
        for raw in reader.read(shard):
            yield shard, raw
