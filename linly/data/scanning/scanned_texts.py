"""Texts of a shard's records in batches, and the work on all shards, over processes if asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from linly.config.corpus import Corpus
from linly.data.documents.record_texts import RecordTexts, plain_texts
from linly.data.reading.records import UnusableRecord
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.record_list import Scanned
from linly.data.types import Shard

BATCH_CHARACTERS = 1 << 20
"""Characters after which a batch ends; numpy takes some 60 bytes for each."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts of consecutive records of one shard.

    Attributes:
        records: Position of each record in its shard.
        texts: Text of each record: those of all its fields, a line each.
    """

    records: list[int]
    texts: list[str]


@dataclass(slots=True)
class ScanCounts:
    """Records and text read so far.

    Attributes:
        records: Records whose text was scanned.
        left_out: Records that `where` leaves out.
        bad: Records that cannot be used.
        size_bytes: UTF-8 bytes of the scanned text.
    """

    records: int = 0
    left_out: int = 0
    bad: int = 0
    size_bytes: int = 0

    def add(self, other: ScanCounts) -> None:
        """Add the counts of another shard."""
        self.records += other.records
        self.left_out += other.left_out
        self.bad += other.bad
        self.size_bytes += other.size_bytes


@dataclass(frozen=True, slots=True)
class ScannedShard:
    """A shard to scan.

    Attributes:
        corpus: Its corpus, without record lists: a scan reads every record.
        data_root: Folder that its path is relative to.
        shard: The shard.
    """

    corpus: Corpus
    data_root: Path
    shard: Shard


def shards_to_scan(
    corpora: Sequence[Corpus], data_root: Path
) -> tuple[list[ScannedShard], Scanned]:
    """List the shards of corpora, in the order of corpora and paths.

    Raises:
        DataError: If a corpus has no shard.
        ConfigError: If a pattern leads out of the data root.
    """
    listed = {corpus.name: list_shards(corpus, data_root) for corpus in corpora}
    whole = [corpus.model_copy(update={"exclude_records": {}}) for corpus in corpora]
    shards = [ScannedShard(one, data_root, shard) for one in whole for shard in listed[one.name]]
    return shards, listed


def text_batches(scanned: ScannedShard, counts: ScanCounts) -> Iterator[TextBatch]:
    """Read the texts of a shard in batches; records left out and bad ones are only counted.

    Raises:
        DataError: If the shard is damaged.
    """
    reader = RecordTexts(scanned.corpus)
    records: list[int] = []
    texts: list[str] = []
    size = 0
    for raw in ShardReader(scanned.corpus, scanned.data_root).read(scanned.shard):
        try:
            found = reader.read(scanned.shard.path, raw)
        except UnusableRecord:
            counts.bad += 1
            continue
        if isinstance(found, str):
            counts.left_out += 1
            continue
        text = "\n".join(part for _, part in plain_texts(found))
        records.append(raw.record)
        texts.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield _counted(TextBatch(records, texts), counts)
            records, texts, size = [], [], 0
    if records:
        yield _counted(TextBatch(records, texts), counts)


def _counted(batch: TextBatch, counts: ScanCounts) -> TextBatch:
    counts.records += len(batch.records)
    counts.size_bytes += sum(len(text.encode("utf-8")) for text in batch.texts)
    return batch


def each_shard(
    scan: Callable[[ScannedShard], Found], shards: Sequence[ScannedShard], *, processes: int
) -> Iterator[Found]:
    """Apply a function to every shard, and yield the results in the order of shards.

    At most two results per process wait, so memory does not depend on the number of shards.

    Args:
        scan: Function; with several processes it must be picklable.
        shards: Shards to scan.
        processes: Number of processes; 1 works in this one.
    """
    if processes == 1:
        yield from map(scan, shards)
        return
    waiting: deque[Future[Found]] = deque()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            for shard in shards:
                waiting.append(pool.submit(scan, shard))
                if len(waiting) == 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
