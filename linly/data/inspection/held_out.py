"""Held-out documents: a source's documents for evaluation, never trained on.

`records.is_held_out` decides which records are held out by fraction; training skips them while
streaming. Held-out files are shards of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linly.config.source import Source
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader, list_held_out_shards
from linly.data.types import BadRecord, Document, Filtered, Shard
from linly.errors import DataError

MAX_SCAN_BYTES = 2 << 30
"""Maximum text to read in search of held-out records; a small fraction of a large corpus may yield
fewer documents than requested."""


def held_out_documents(
    source: Source, shards: Sequence[Shard], *, max_documents: int
) -> list[Document]:
    """Return a source's first held-out documents, in the order of shards and records.

    Args:
        source: Source to read.
        shards: Shards that it trains on; read if `held_out` is a fraction.
        max_documents: Maximum number of documents to return.

    Raises:
        DataError: If a shard is damaged, or more than `max_bad_fraction` of the records of
            held-out files cannot be used.
    """
    corpus = source.corpus
    documents: list[Document] = []
    if isinstance(corpus.held_out, float | int):
        if corpus.held_out > 0:
            for made in _scan(source, shards):
                # Bad records among these are counted by the training stream.
                if isinstance(made, Document):
                    documents.append(made)
                if len(documents) == max_documents:
                    break
        return documents
    bad: list[BadRecord] = []
    for made in _scan(source, list_held_out_shards(corpus, source.data_root)):
        if isinstance(made, Document):
            documents.append(made)
        elif isinstance(made, BadRecord):
            bad.append(made)
        if len(documents) == max_documents:
            break
    if len(bad) > corpus.max_bad_fraction * (len(bad) + len(documents)):
        raise DataError(
            f"source {source.name!r}: {len(bad)} of {len(bad) + len(documents)} records of its "
            f"held-out files cannot be used; the first is record {bad[0].record} of "
            f"{bad[0].shard!r}: {bad[0].reason}"
        )
    return documents


def _scan(source: Source, shards: Sequence[Shard]) -> Iterator[Document | BadRecord | Filtered]:
    maker = DocumentMaker(source)
    reader = ShardReader(source.corpus, source.data_root)
    read_bytes = 0
    for shard in shards:
        for raw in reader.read(shard):
            yield maker.make_held_out(shard.path, raw)
            read_bytes += raw.size_bytes
            if read_bytes > MAX_SCAN_BYTES:
                return
