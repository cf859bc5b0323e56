"""Section `data` of a recipe: from documents to global batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    Strict,
)

from linly.config.yaml.quantities import (
    Count,
    Seconds,
    Seed,
    at_most,
)
from linly.config.yaml.strict_model import (
    OnResume,
    Settings,
)

_MIN_SEQUENCE_LENGTH = 8
_Rows = Annotated[Count, at_most(1 << 20, "the rows of a step are held in memory")]

Packing = Literal["chunk", "best-fit", "one-document"]
"""Packing methods: cut documents at row ends; use the fullest row that fits; one row each."""


class DataSettings(Settings):
    """Settings of the path from documents to global batches.

    Attributes:
        sequence_length: Positions of a row.
        global_batch: Rows of a step, over all ranks.
        seed: Seed of all shuffles.
        attention: Scope of attention: within each document, or over the full row.
        packing: Packing of every source; replaces that of the corpus files.
        producers: Processes that build rows, each for some of the sources; 0 builds them in the
            training process.
        prefetch_rows: Largest number of rows built ahead of training, over all producers.
        timeout_s: Seconds to wait for a row before training fails, naming the source.
    """

    sequence_length: Annotated[
        int, Strict(), Field(ge=_MIN_SEQUENCE_LENGTH, le=1 << 20), OnResume.REFUSED
    ] = 2048
    global_batch: Annotated[_Rows, OnResume.REFUSED] = 512
    seed: Annotated[Seed, OnResume.REFUSED] = 2023
    attention: Annotated[Literal["document", "full"], OnResume.REFUSED] = "document"
    packing: Annotated[Packing | None, OnResume.REFUSED] = None
    producers: Annotated[
        int,
        Strict(),
        Field(ge=0),
        at_most(1024, "each producer is a process of every rank"),
        OnResume.FREE,
    ] = 1
    prefetch_rows: Annotated[_Rows, OnResume.FREE] = 256
    timeout_s: Annotated[Seconds, OnResume.FREE] = 300.0
