"""Held-out documents: a source's documents for evaluation, never trained on.

`records.is_held_out` decides which records are held out by fraction; training skips them while
streaming. Held-out files are shards of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from linly.config.corpus import Corpus
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader, list_held_out_shards
from linly.data.types import BadRecord, Document, Filtered, Shard
from linly.errors import DataError

MAX_SCAN_BYTES = 2 << 30
"""Maximum text to read in search of held-out records; a small fraction of a large corpus may yield
fewer documents than requested."""


def held_out_documents(
    source: str,
    corpus: Corpus,
    data_root: Path,
    shards: Sequence[Shard],
    *,
    max_documents: int,
    template: str | None = None,
) -> list[Document]:
    """Return a source's first held-out documents, in the order of shards and records.

    Args:
        source: Name of the source in the curriculum.
        corpus: Its corpus file.
        data_root: Folder that the shards' paths are relative to.
        shards: Shards that it trains on; read if `held_out` is a fraction.
        max_documents: Maximum number of documents to return.
        template: Template in place of the corpus file's.

    Raises:
        DataError: If a shard is damaged, or more than `max_bad_fraction` of the records of
            held-out files cannot be used.
    """
    maker = DocumentMaker(source, corpus, template)
    documents: list[Document] = []
    if isinstance(corpus.held_out, float | int):
        if corpus.held_out > 0:
            for made in _scan(maker, corpus, data_root, shards):
                # Bad records among these are counted by the training stream.
                if isinstance(made, Document):
                    documents.append(made)
                if len(documents) == max_documents:
                    break
        return documents
    bad: list[BadRecord] = []
    for made in _scan(maker, corpus, data_root, list_held_out_shards(corpus, data_root)):
        if isinstance(made, Document):
            documents.append(made)
        elif isinstance(made, BadRecord):
            bad.append(made)
        if len(documents) == max_documents:
            break
    if len(bad) > corpus.max_bad_fraction * (len(bad) + len(documents)):
        raise DataError(
            f"source {source!r}: {len(bad)} records of its held-out files cannot be used beside "
            f"{len(documents)} that can; the first is record {bad[0].record} of "
            f"{bad[0].shard!r}: {bad[0].reason}"
        )
    return documents


def _scan(
    maker: DocumentMaker, corpus: Corpus, data_root: Path, shards: Sequence[Shard]
) -> Iterator[Document | BadRecord | Filtered]:
    reader = ShardReader(corpus, data_root)
    read_bytes = 0
    for shard in shards:
        for raw in reader.read(shard):
            yield maker.make_held_out(shard.path, raw)
            read_bytes += raw.size_bytes
            if read_bytes > MAX_SCAN_BYTES:
                return
