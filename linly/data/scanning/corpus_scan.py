"""One scan of corpora by several rules, and the list that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from linly.config.corpus import Corpus
from linly.data.record_list import ListedRecord, Reason, Scanned, write_record_list
from linly.data.scanning.duplicates import find_duplicates
from linly.data.scanning.exam_folders import exam_questions
from linly.data.scanning.exam_index import NUM_CHARACTERS, NUM_WORDS, ExamIndex
from linly.data.scanning.leaks import MIN_SHARE, ScanResult, find_leaks
from linly.data.scanning.scanned_texts import ScanCounts, ScannedShard
from linly.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """Rules of a scan.

    Attributes:
        against: Folder of exams whose questions to find; None for no such rule.
        duplicates: Similarity from which a record repeats another; None for no such rule.
        words: Words per n-gram of a question.
        characters: Characters per n-gram of a question in a script without spaces.
        min_share: Fraction of a question's n-grams from which a record holds it.
    """

    against: Path | None = None
    duplicates: float | None = None
    words: int = NUM_WORDS
    characters: int = NUM_CHARACTERS
    min_share: float = MIN_SHARE

    def to_json(self) -> dict[str, Any]:
        """Plain values for the list's metadata."""
        return asdict(self) | {"against": None if self.against is None else str(self.against)}


@dataclass(frozen=True, slots=True)
class CorpusScan:
    """Result of a scan by all its rules.

    Attributes:
        settings: Rules of the scan.
        records: Records to leave out.
        scanned: Shards that were read, of each corpus.
        counts: Counts of each corpus.
        reasons: Reasons that the rules give.
        notes: Exams and questions that the scan could not look for.
    """

    settings: ScanSettings
    records: list[ListedRecord]
    scanned: Scanned
    counts: dict[str, ScanCounts]
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]

    def num_listed(self, corpus: str, reason: Reason) -> int:
        """Number of a corpus's records that are listed for a reason."""
        own = (one for one in self.records if one.corpus == corpus and one.reason == reason)
        return len({(one.shard, one.record) for one in own})

    def write(self, path: Path) -> str:
        """Write the list atomically, and return its sha256."""
        return write_record_list(path, self.records, self.scanned, self.settings.to_json())


class _Common(TypedDict):
    """Arguments that all rules take: number of processes, function called after each shard."""

    processes: int
    on_shard: Callable[[ScannedShard], None]


def scan_corpora(
    corpora: Sequence[Corpus],
    data_root: Path,
    settings: ScanSettings,
    *,
    processes: int = 1,
    on_shard: Callable[[ScannedShard], None] = lambda shard: None,
) -> CorpusScan:
    """Scan corpora by each rule in turn.

    Args:
        corpora: Corpora to scan.
        data_root: Folder of their shards.
        settings: Rules, at least one.
        processes: Number of processes.
        on_shard: Function called after each shard of each rule.

    Raises:
        ConfigError: If a corpus is named twice, there is no exam, or a package is missing.
        DataError: If a corpus has no shard, one is damaged, or an exam's file is malformed.
    """
    names = [corpus.name for corpus in corpora]
    if len(set(names)) < len(names):
        raise ConfigError(f"found a corpus twice: {', '.join(names)}; name each one once")
    common: _Common = {"processes": processes, "on_shard": on_shard}
    results: dict[Reason, ScanResult] = {}
    notes: list[str] = []
    if settings.against is not None:
        index = _exam_index(settings, settings.against)
        notes += _too_short(index)
        share = settings.min_share
        results["leak"] = find_leaks(corpora, data_root, index, min_share=share, **common)
    if settings.duplicates is not None:
        similarity = settings.duplicates
        results["duplicate"] = find_duplicates(corpora, data_root, similarity=similarity, **common)
    first = next(iter(results.values()))
    return CorpusScan(
        settings=settings,
        records=[record for result in results.values() for record in result.records],
        scanned=first.scanned,
        counts=first.counts,
        reasons=tuple(results),
        notes=tuple(notes),
    )


def _exam_index(settings: ScanSettings, folder: Path) -> ExamIndex:
    return ExamIndex(
        exam_questions(folder), num_words=settings.words, num_characters=settings.characters
    )


def _too_short(index: ExamIndex) -> list[str]:
    """A note on the questions that cannot be looked for; none if there are none."""
    if not index.too_short:
        return []
    total = len(index.questions) + len(index.too_short)
    return [
        f"{len(index.too_short):,} of {total:,} questions are shorter than an n-gram and were not "
        f"looked for, such as {index.too_short[0].text!r:.60}"
    ]
