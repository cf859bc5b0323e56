"""Specification of a source's rows: everything that they depend on, except the tokenizer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import orjson

from linly.config.corpus import Corpus
from linly.config.sections.record_lists import KEY as LISTS
from linly.config.source import Source
from linly.data.mixing.blocks import BlockLimits
from linly.data.record_list import list_hashes
from linly.data.types import Shard, ShardList

NOT_IN_ROWS = (
    "paths",
    "exclude",
    "language",
    "max_bad_fraction",
    "damaged_shards",
    "read_attempts",
    "read_delay_s",
)
"""Keys of a corpus file that no row depends on: patterns (the shard list is pinned), and limits for
stopping (the rows before a damaged shard are the same whether the stream then stops or not)."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Everything that the rows of one source depend on, except the tokenizer.

    Attributes:
        source: Source whose rows to build.
        shards: Shard list pinned when the source joined the run.
        later_lists: Shard lists that replaced it since, by ascending epoch.
        padding_id: Token id of the padding in best-fit and one-document rows.
    """

    source: Source
    shards: tuple[Shard, ...]
    seed: int
    sequence_length: int
    padding_id: int
    max_epochs: float
    on_exhausted: Literal["error", "stop"]
    limits: BlockLimits = BlockLimits()  # noqa: RUF009 (frozen)
    later_lists: tuple[ShardList, ...] = ()

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name


def source_fingerprint(spec: SourceSpec) -> str:
    """Sha256 of a source's first shard list, and of its corpus file's settings and record lists.

    Later lists are identified by the hashes in the decision log.
    """
    limits = spec.limits
    value = {
        "shards": [
            [s.path, s.size_bytes] if s.version is None else [s.path, s.size_bytes, s.version]
            for s in spec.shards
        ],
        "corpus": _record_form(spec.source.corpus),
        "template": spec.source.template,
        "limits": [limits.num_records, limits.size_bytes, limits.interleave],
    }
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _record_form(corpus: Corpus) -> dict[str, object]:
    """Corpus file without the keys that do not affect rows."""
    form = corpus.file_form()
    for key in NOT_IN_ROWS:
        form.pop(key, None)
    if corpus.exclude_records:
        form[LISTS] = list_hashes(corpus)  # in place of the paths
    return form
