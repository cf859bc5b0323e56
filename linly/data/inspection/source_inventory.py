"""Inventory of a source: its shards, its held-out documents, and the tokens left to train on."""

from __future__ import annotations

from dataclasses import dataclass

from linly.config.recipe import Recipe
from linly.curriculum.plan import Available
from linly.data.inspection.estimate import estimate_tokens
from linly.data.inspection.first_records import check_first_records
from linly.data.inspection.held_out import held_out_documents
from linly.data.reading.shards import list_shards
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
    recipe: Recipe, source: str, tokenizer: Tokenizer, *, max_held_out: int
) -> SourceInventory:
    """Inspect the data of a source of the recipe's curriculum.

    Args:
        recipe: Recipe with the corpora and data settings.
        source: Name of the source.
        tokenizer: Tokenizer to count with.
        max_held_out: Maximum number of held-out documents to read.

    Raises:
        DataError: If it has no shards, one cannot be read, or the records do not match its corpus
            file.
    """
    share = recipe.curriculum.sources[source][1]
    corpus = recipe.corpora[share.corpus]
    where = (source, corpus, recipe.data_root)
    shards = list_shards(corpus, recipe.data_root)
    check_first_records(*where, shards, template=share.template)
    held_out = held_out_documents(
        *where, shards, max_documents=max_held_out, template=share.template
    )
    estimate = estimate_tokens(
        *where,
        shards,
        tokenizer,
        template=share.template,
        sequence_length=recipe.data.sequence_length,
    )
    available = Available(
        tokens=estimate.tokens,
        supervised_tokens=estimate.supervised_tokens,
        exact=estimate.exact,
        has_held_out=bool(held_out),
        padding=estimate.padding,
    )
    return SourceInventory(shards, held_out, available)
