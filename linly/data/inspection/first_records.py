"""Builds documents from a source's first records, to detect a wrong corpus file early."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from linly.config.source import Source
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader
from linly.data.types import BadRecord, Document, RawRecord, Shard
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
    maker = DocumentMaker(source)
    first_bad: BadRecord | None = None
    count = 0
    for shard, raw in islice(_records(source, shards), NUM_CHECKED):
        made = maker.make(shard.path, raw, epoch=0)
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
    maker = DocumentMaker(source)
    bad: list[BadRecord] = []
    texts: list[str] = []
    for shard, raw in islice(_records(source, shards), NUM_CHECKED):
        made = maker.make(shard.path, raw, epoch=0)
        if isinstance(made, BadRecord):
            bad.append(made)
        elif isinstance(made, Document):
            texts.append("".join(s.text for s in made.segments if s.supervised))
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


def _records(source: Source, shards: Sequence[Shard]) -> Iterator[tuple[Shard, RawRecord]]:
    reader = ShardReader(source.corpus, source.data_root)
    for shard in shards:
        for raw in reader.read(shard):
            yield shard, raw
