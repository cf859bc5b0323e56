"""Find the records of corpora that hold an exam question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from linly.config.corpus import Corpus
from linly.data.record_list import ListedRecord, Scanned
from linly.data.scanning.exam_index import ExamIndex
from linly.data.scanning.scanned_texts import (
    ScanCounts,
    ScannedShard,
    each_shard,
    shards_to_scan,
    text_batches,
)
from linly.data.scanning.units import units_of

MIN_SHARE = 0.5
"""Fraction of a question's n-grams from which a record holds it; a quotation has fewer."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Result of a scan.

    Attributes:
        records: Records to leave out.
        scanned: Shards that were read, of each corpus.
        counts: Counts of each corpus.
    """

    records: list[ListedRecord]
    scanned: Scanned
    counts: dict[str, ScanCounts] = field(default_factory=dict)


ShardResult = tuple[list[ListedRecord], ScanCounts]


def find_leaks(
    corpora: Sequence[Corpus],
    data_root: Path,
    index: ExamIndex,
    *,
    min_share: float = MIN_SHARE,
    processes: int = 1,
    on_shard: Callable[[ScannedShard], None] = lambda shard: None,
) -> ScanResult:
    """Scan corpora for exam questions.

    Memory: the index in each process, a batch of about 1 M characters (some 60 MB), and the hits.

    Args:
        corpora: Corpora to scan.
        data_root: Folder of their shards.
        index: Questions to look for.
        min_share: Fraction of a question's n-grams from which a record holds it.
        processes: Number of processes.
        on_shard: Function called after each shard.

    Raises:
        DataError: If a corpus has no shard, or one is damaged.
    """
    shards, scanned = shards_to_scan(corpora, data_root)
    result = ScanResult([], scanned, {corpus.name: ScanCounts() for corpus in corpora})
    scan = partial(_leaks_of_shard, index, min_share)
    for shard, (found, counts) in zip(
        shards, each_shard(scan, shards, processes=processes), strict=True
    ):
        result.records.extend(found)
        result.counts[shard.corpus.name].add(counts)
        on_shard(shard)
    return result


def _leaks_of_shard(index: ExamIndex, min_share: float, scanned: ScannedShard) -> ShardResult:
    counts = ScanCounts()
    found = []
    for batch in text_batches(scanned, counts):
        for hit in index.find(units_of(batch.texts)):
            if hit.score >= min_share:
                found.append(
                    ListedRecord(
                        corpus=scanned.corpus.name,
                        shard=scanned.shard.path,
                        record=batch.records[hit.text],
                        reason="leak",
                        task=hit.question.task,
                        question=hit.question.question,
                        score=hit.score,
                    )
                )
    return found, counts
