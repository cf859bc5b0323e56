"""Find near-duplicate records of corpora by MinHash and locality-sensitive hashing (datasketch).

    texts --shingles of 5 units--> MinHash, 128 values --LSH--> candidates --estimate--> duplicates

The first record of a group is kept, in the order of corpora, shards and records; a later one is
listed if its estimated Jaccard similarity to a kept one reaches the threshold. The estimate's
standard error is 0.035 at a similarity of 0.8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linly.config.corpus import Corpus
from linly.data.record_list import ListedRecord
from linly.data.scanning.leaks import ScanResult
from linly.data.scanning.scanned_texts import (
    ScanCounts,
    ScannedShard,
    each_shard,
    shards_to_scan,
    text_batches,
)
from linly.data.scanning.units import Units, ngrams_of, units_of
from linly.errors import ConfigError

if TYPE_CHECKING:
    from datasketch import MinHash

SHINGLE_UNITS = 5
"""Units of a shingle: words, or characters of scripts without spaces."""

NUM_VALUES = 128
"""Hash values of a signature."""

_LEEWAY = 0.1
"""Similarity below the threshold from which LSH proposes candidates, so that it misses few."""

_CHUNK = 4096
"""Shingles per call of the library; it takes 512 bytes for each."""


class Signatures(NamedTuple):
    """Signatures of a shard's records.

    Attributes:
        records: Position of each record that has a signature.
        values: MinHash values, uint32 [len(records), NUM_VALUES].
        counts: Records and text read.
    """

    records: list[int]
    values: NDArray[np.uint32]
    counts: ScanCounts


def find_duplicates(
    corpora: Sequence[Corpus],
    data_root: Path,
    *,
    similarity: float,
    processes: int = 1,
    on_shard: Callable[[ScannedShard], None] = lambda shard: None,
) -> ScanResult:
    """Scan corpora for near-duplicates, across shards and corpora.

    Memory: the kept records' signatures and their places in the hash tables, about 6 KB a record.

    Args:
        corpora: Corpora to scan; records of earlier ones are kept.
        data_root: Folder of their shards.
        similarity: Jaccard similarity of shingles from which a record is a duplicate.
        processes: Number of processes that compute signatures.
        on_shard: Function called after each shard.

    Raises:
        ConfigError: If datasketch is not installed.
        DataError: If a corpus has no shard, or one is damaged.
    """
    _datasketch()
    shards, scanned = shards_to_scan(corpora, data_root)
    result = ScanResult([], scanned, {corpus.name: ScanCounts() for corpus in corpora})
    seen = _SeenRecords(similarity)
    for shard, found in zip(
        shards, each_shard(signatures_of_shard, shards, processes=processes), strict=True
    ):
        name, path = shard.corpus.name, shard.shard.path
        for record, values in zip(found.records, found.values, strict=True):
            similar = seen.similar_or_add(f"{name}/{path}:{record}", values)
            if similar is not None:
                place, score = similar
                result.records.append(
                    ListedRecord(name, path, record, "duplicate", score=score, duplicate_of=place)
                )
        result.counts[name].add(found.counts)
        on_shard(shard)
    return result


def signatures_of_shard(scanned: ScannedShard) -> Signatures:
    """Compute the signatures of a shard's records; a text without a word has none."""
    counts = ScanCounts()
    records: list[int] = []
    values: list[NDArray[np.uint32]] = []
    for batch in text_batches(scanned, counts):
        for index, shingles in enumerate(_shingles(units_of(batch.texts), len(batch.texts))):
            if len(shingles):
                records.append(batch.records[index])
                values.append(_signature(shingles))
    stacked = np.stack(values) if values else np.zeros((0, NUM_VALUES), np.uint32)
    return Signatures(records, stacked, counts)


def _shingles(units: Units, num_texts: int) -> list[NDArray[np.uint64]]:
    """Different shingles of each text; a shorter text is one shingle."""
    ngrams = ngrams_of(units, SHINGLE_UNITS)
    texts = np.arange(num_texts + 1)
    cuts = np.searchsorted(ngrams.texts, texts)
    ends = np.searchsorted(units.texts, texts)
    found = []
    for text in range(num_texts):
        shingles = np.unique(ngrams.hashes[cuts[text] : cuts[text + 1]])
        own = slice(ends[text], ends[text + 1])
        num_units = int(own.stop - own.start)
        if not len(shingles) and num_units:
            short = Units(units.hashes[own], units.texts[own], units.singles[own])
            shingles = ngrams_of(short, num_units).hashes
        found.append(shingles)
    return found


def _signature(shingles: NDArray[np.uint64]) -> NDArray[np.uint32]:
    minhash = _minhash()
    short = (shingles >> np.uint64(32)).tolist()
    for start in range(0, len(short), _CHUNK):
        minhash.update_batch(short[start : start + _CHUNK])
    values: NDArray[np.uint32] = minhash.hashvalues.astype(np.uint32)
    return values


def _minhash(values: NDArray[np.uint32] | None = None) -> MinHash:
    return _datasketch().MinHash(
        num_perm=NUM_VALUES,
        seed=1,
        hashfunc=int,
        hashvalues=values,
        permutations=_permutations(),
        scheme="affine32",
    )


@cache
def _permutations() -> Any:
    """The library's permutations for this seed; it would draw them again for every record."""
    return _datasketch().MinHash(num_perm=NUM_VALUES, seed=1, scheme="affine32").permutations


def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise ConfigError(
            "finding duplicates needs the package datasketch; install linly[scan]"
        ) from error
    return datasketch


class _SeenRecords:
    """The kept records so far, by their signatures."""

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        threshold = max(similarity - _LEEWAY, 0.05)
        self._tables = _datasketch().MinHashLSH(threshold=threshold, num_perm=NUM_VALUES)
        self._places: list[str] = []
        self._values: list[NDArray[np.uint32]] = []

    def similar_or_add(self, place: str, values: NDArray[np.uint32]) -> tuple[str, float] | None:
        """Return the most similar kept record (the first of equals), or keep this one."""
        minhash = _minhash(values)
        best: tuple[float, int] | None = None
        for index in sorted(self._tables.query(minhash)):
            score = float(np.count_nonzero(self._values[index] == values)) / NUM_VALUES
            if score >= self._similarity and (best is None or score > best[0]):
                best = score, index
        if best is not None:
            return self._places[best[1]], best[0]
        self._tables.insert(len(self._places), minhash, check_duplication=False)
        self._places.append(place)
        self._values.append(values)
        return None
