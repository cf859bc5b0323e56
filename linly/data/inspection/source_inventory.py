"""Inventory of a source: its shards, its held-out documents, and the tokens left to train on."""

from __future__ import annotations

from dataclasses import dataclass

from linly.config.source import Source
from linly.curriculum.run_plan import Available
from linly.data.inspection.estimate import estimate_tokens
from linly.data.inspection.first_records import check_first_records
from linly.data.inspection.held_out import held_out_documents
from linly.data.reading.shards import list_shards
from linly.data.record_list import check_lists
from linly.data.types import Document, Shard
from linly.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SourceInventory:
    """Data of one source.

    Attributes:
        shards: Shards that its corpus file matches.
        held_out: Documents for evaluation, never trained on.
        available: Tokens left to train on, counted or estimated.
    """

    shards: tuple[Shard, ...]
    held_out: list[Document]
    available: Available


def source_inventory(
    source: Source, tokenizer: Tokenizer, *, sequence_length: int, max_held_out: int
) -> SourceInventory:
    """Inspect the data of a source.

    Args:
        source: Source to inspect.
        tokenizer: Tokenizer to count with.
        sequence_length: Positions of a row, to count the padding of one-document packing.
        max_held_out: Maximum number of held-out documents to read.

    Raises:
        DataError: If it has no shards, one cannot be read, the records do not match its corpus
            file, or a record list does not match the shards.
    """
    shards = list_shards(source.corpus, source.data_root)
    exclusions = check_lists(source.corpus, shards)
    check_first_records(source, shards)
    held_out = held_out_documents(source, shards, max_documents=max_held_out)
    estimate = estimate_tokens(source, shards, tokenizer, sequence_length=sequence_length)
    available = Available(
        tokens=estimate.tokens,
        supervised_tokens=estimate.supervised_tokens,
        exact=estimate.exact,
        has_held_out=bool(held_out),
        padding=estimate.padding,
        exclusions=tuple(exclusions),
    )
    return SourceInventory(shards, held_out, available)
