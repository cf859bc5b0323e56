"""Builds documents from a source's first records, to detect a wrong corpus file early."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from linly.config.corpus import Corpus
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader
from linly.data.types import BadRecord, Document, RawRecord, Shard
from linly.errors import DataError

NUM_CHECKED = 32
_LETTER = re.compile(r"[^\W\d_]")


def check_first_records(
    source: str,
    corpus: Corpus,
    data_root: Path,
    shards: Sequence[Shard],
    *,
    template: str | None = None,
) -> None:
    """Build documents from the first records; error if none of them can be used.

    Raises:
        DataError: If all are bad: names source, shard, record, the requested field, the fields
            found and the corpus file to correct. Also if there is no record, or the first shard is
            damaged.
        ConfigError: If the corpus file's fields or template cannot be read.
    """
    if fault := fault_of_first_records(source, corpus, data_root, shards, template=template):
        raise DataError(f"{fault}; correct the corpus file {corpus.name}.yaml")


def fault_of_first_records(
    source: str,
    corpus: Corpus,
    data_root: Path,
    shards: Sequence[Shard],
    *,
    template: str | None = None,
) -> str | None:
    """Return the reason why none of the first records yields a document; None if one does.

    Raises:
        DataError: If there is no record, or the first shard is damaged.
        ConfigError: If the corpus's fields or template cannot be read.
    """
    maker = DocumentMaker(source, corpus, template)
    first_bad: BadRecord | None = None
    count = 0
    for shard, raw in islice(_records(corpus, data_root, shards), NUM_CHECKED):
        made = maker.make(shard.path, raw, epoch=0)
        if not isinstance(made, BadRecord):
            return None
        first_bad = first_bad or made
        count += 1
    if first_bad is None:
        raise DataError(f"source {source!r}: its {len(shards)} shard(s) hold no record")
    return (
        f"source {source!r}: none of its first {count} records can be used; record "
        f"{first_bad.record} of {first_bad.shard!r}: {first_bad.reason}"
    )


def fault_of_guess(
    source: str, corpus: Corpus, data_root: Path, shards: Sequence[Shard]
) -> str | None:
    """Return the reason why the first records contradict a guessed corpus file; None if none.

    Most of them must yield documents, most of which must contain words.

    Raises:
        DataError: If there is no record, or the first shard is damaged.
        ConfigError: If the corpus's fields cannot be read.
    """
    if fault := fault_of_first_records(source, corpus, data_root, shards):
        return fault
    maker = DocumentMaker(source, corpus)
    bad: list[BadRecord] = []
    texts: list[str] = []
    for shard, raw in islice(_records(corpus, data_root, shards), NUM_CHECKED):
        made = maker.make(shard.path, raw, epoch=0)
        if isinstance(made, BadRecord):
            bad.append(made)
        elif isinstance(made, Document):
            texts.append("".join(s.text for s in made.segments if s.supervised))
    if len(bad) > len(texts):
        return (
            f"source {source!r}: {len(bad)} of its first {len(bad) + len(texts)} records cannot be "
            f"used; record {bad[0].record} of {bad[0].shard!r}: {bad[0].reason}"
        )
    wordless = [text for text in texts if _LETTER.search(text) is None]
    if 2 * len(wordless) > len(texts):
        return (
            f"source {source!r}: most of its documents hold no word, such as {wordless[0][:80]!r}"
        )
    return None


def _records(
    corpus: Corpus, data_root: Path, shards: Sequence[Shard]
) -> Iterator[tuple[Shard, RawRecord]]:
    reader = ShardReader(corpus, data_root)
    for shard in shards:
        for raw in reader.read(shard):
            yield shard, raw
