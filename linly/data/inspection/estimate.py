"""Number of tokens of a source: counted if it is small, else estimated, and marked as such."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from linly.config.source import Source
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader
from linly.data.types import BadRecord, Document, Shard
from linly.tokenization.tokenizer import Tokenizer

EXACT_DISK_BYTES = 16 << 20
"""Maximum total size of shards to count exactly: some 10 s at most."""

SAMPLE_SHARDS = 8
SAMPLE_DISK_BYTES = 32 << 20
"""Limits of a sample (at least one shard); it is read completely, which is fast."""

ENCODED_BYTES = 512 << 10
ENCODED_FRACTION = 1 / 64
"""Part of a sampled shard to encode: its first records, then this fraction, spread evenly."""

_BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """Content of one epoch of a source.

    Attributes:
        tokens: Tokens including BOS and EOS, without held-out, filtered and bad records.
        supervised_tokens: Tokens that carry loss.
        documents: Documents that contain the tokens.
        bad_records: Records that cannot be used.
        padding: Positions that one-document packing leaves empty.
        exact: Whether all were counted; else scaled up from a sample of shards by size on disk.
    """

    tokens: int
    supervised_tokens: int
    documents: int
    bad_records: int
    padding: int
    exact: bool

    @property
    def supervised_share(self) -> float:
        """Fraction of the tokens that carry loss; 0 if there are no tokens."""
        return self.supervised_tokens / self.tokens if self.tokens else 0.0


@dataclass(slots=True)
class _Count:
    """Sums over records; floats, since they are scaled."""

    tokens: float = 0.0
    supervised_tokens: float = 0.0
    documents: float = 0.0
    bad_records: float = 0.0
    padding: float = 0.0

    def add(self, other: _Count, factor: float) -> None:
        self.tokens += other.tokens * factor
        self.supervised_tokens += other.supervised_tokens * factor
        self.documents += other.documents * factor
        self.bad_records += other.bad_records * factor
        self.padding += other.padding * factor

    def estimate(self, *, exact: bool) -> TokenEstimate:
        return TokenEstimate(
            tokens=round(self.tokens),
            supervised_tokens=round(self.supervised_tokens),
            documents=round(self.documents),
            bad_records=round(self.bad_records),
            padding=round(self.padding),
            exact=exact,
        )


def estimate_tokens(
    source: Source,
    shards: Sequence[Shard],
    tokenizer: Tokenizer,
    *,
    sequence_length: int | None = None,
) -> TokenEstimate:
    """Count or estimate the tokens of one epoch of a source; the result is deterministic.

    Args:
        source: Source to count.
        shards: Its shards.
        tokenizer: Tokenizer to count with.
        sequence_length: Positions of a row, to count the padding of one-document packing.

    Raises:
        DataError: If a shard that is read is damaged.
        ConfigError: If the corpus file's fields or template cannot be parsed.
    """
    maker = DocumentMaker(source)
    reader = ShardReader(source.corpus, source.data_root)
    row = sequence_length if source.corpus.packing == "one-document" else None
    disk_bytes = sum(shard.size_bytes for shard in shards)
    total = _Count()
    if disk_bytes <= EXACT_DISK_BYTES:
        for shard in shards:
            total.add(_count_shard(maker, reader, shard, tokenizer, row=row, fraction=1.0), 1.0)
        return total.estimate(exact=True)
    sample = _sample(shards)
    scale = disk_bytes / sum(shard.size_bytes for shard in sample)
    for shard in sample:
        counted = _count_shard(maker, reader, shard, tokenizer, row=row, fraction=ENCODED_FRACTION)
        total.add(counted, scale)
    return total.estimate(exact=False)


def _sample(shards: Sequence[Shard]) -> list[Shard]:
    """Choose shards by the hash of their paths: even over folders and deterministic."""
    sample: list[Shard] = []
    disk_bytes = 0
    for shard in sorted(shards, key=lambda s: hashlib.blake2b(s.path.encode()).digest()):
        disk_bytes += shard.size_bytes
        if sample and (disk_bytes > SAMPLE_DISK_BYTES or len(sample) == SAMPLE_SHARDS):
            break
        sample.append(shard)
    return sample


def _count_shard(
    maker: DocumentMaker,
    reader: ShardReader,
    shard: Shard,
    tokenizer: Tokenizer,
    *,
    row: int | None,
    fraction: float,
) -> _Count:
    """Encode about `fraction` of a shard and scale up by the size of the records.

    Args:
        maker: Builder of documents from records.
        reader: Reader of shards.
        shard: Shard to count.
        tokenizer: Tokenizer to count with.
        row: Positions of a row where each document is padded to whole rows; None otherwise.
        fraction: Fraction of the shard to encode.
    """
    read_bytes = taken_bytes = 0
    counted = _Count()

    def documents() -> Iterator[Document]:
        nonlocal read_bytes, taken_bytes
        for raw in reader.read(shard):
            read_bytes += raw.size_bytes
            if fraction < 1 and taken_bytes > max(ENCODED_BYTES, read_bytes * fraction):
                continue
            taken_bytes += raw.size_bytes
            made = maker.make(shard.path, raw, epoch=0)
            if isinstance(made, Document):
                yield made
            elif isinstance(made, BadRecord):
                counted.bad_records += 1

    for batch in _batches(documents()):
        for encoded in encode_documents(tokenizer, batch):
            counted.tokens += len(encoded.ids)
            counted.supervised_tokens += int(encoded.supervised.sum())
            counted.documents += len(encoded.starts)
            for start, end in zip(encoded.starts, encoded.ends, strict=True):
                counted.padding += -(end - start) % row if row else 0
    scaled = _Count()
    scaled.add(counted, read_bytes / taken_bytes if taken_bytes else 1.0)
    return scaled


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(len(segment.text) for segment in document.segments)
        if size > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
