"""Evaluations in the logs: held-out documents of every source, and new pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceEvaluation:
    """Held-out documents of one source at one step.

    Attributes:
        language: Language of the corpus, such as "zh".
        kind: text | parallel | instruction | conversation.
        documents: Number of documents read.
        loss: Mean negative log-likelihood of the supervised tokens, nats.
        bits_per_byte: Their total in bits, per UTF-8 byte of the supervised text.
        size_bytes: UTF-8 bytes of the supervised text.
    """

    language: str
    kind: str
    documents: int
    loss: float
    bits_per_byte: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewPieces:
    """Use and embedding norms of the vocabulary's new pieces at one step.

    Attributes:
        num_pieces: Number of new pieces.
        num_seen: Number of new pieces in the tokens so far.
        share_of_tokens: Their fraction of these tokens; NaN before the first.
        norm: Mean norm of their rows of the embedding.
        norm_of_others: Mean norm of all other rows.
    """

    num_pieces: int
    num_seen: int
    share_of_tokens: float
    norm: float
    norm_of_others: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluation of all sources' held-out documents at one step; step 0 is the original model.

    Attributes:
        loss_at_fixed_shares: Loss of all sources at the final shares of the first curriculum; NaN
            if it was not recorded, or nothing is held out.
        loss_at_current_shares: Loss of all sources at the planned shares of this step.
        new_pieces: Use of the vocabulary's new pieces; None if it has none.
    """

    step: int
    tokens_seen: int
    sources: dict[str, SourceEvaluation]
    loss_at_fixed_shares: float = math.nan
    loss_at_current_shares: float = math.nan
    new_pieces: NewPieces | None = None

    @property
    def by_language(self) -> dict[str, float]:
        """Bits per byte of each language's text, over all its bytes.

        Only plain text counts, because it measures a language best. If a language has none, all its
        sources count.
        """
        found: dict[str, float] = {}
        for language in sorted({source.language for source in self.sources.values()}):
            spoken = [s for s in self.sources.values() if s.language == language]
            counted = [s for s in spoken if s.kind == "text"] or spoken
            size_bytes = sum(source.size_bytes for source in counted)
            bits = sum(source.bits_per_byte * source.size_bytes for source in counted)
            if size_bytes:
                found[language] = bits / size_bytes
        return found


def parse_evaluation(record: Mapping[str, Any]) -> Evaluation:
    """Parse a line of evaluations.jsonl."""
    return Evaluation(
        step=record["step"],
        tokens_seen=int(record.get("tokens_seen", 0)),
        sources={
            name: SourceEvaluation(
                language=str(source.get("language", "")),
                kind=str(source.get("kind", "text")),
                documents=int(source.get("documents", 0)),
                loss=number(source.get("loss")),
                bits_per_byte=number(source.get("bits_per_byte")),
                size_bytes=int(source.get("bytes", 0)),
            )
            for name, source in sorted(record.get("sources", {}).items())
        },
        loss_at_fixed_shares=number(record.get("loss_at_fixed_shares")),
        loss_at_current_shares=number(record.get("loss_at_current_shares")),
        new_pieces=_new_pieces(record.get("new_pieces")),
    )


def _new_pieces(found: Mapping[str, Any] | None) -> NewPieces | None:
    if not found:
        return None
    return NewPieces(
        num_pieces=int(found["num_pieces"]),
        num_seen=int(found["num_seen"]),
        share_of_tokens=number(found["share_of_tokens"]),
        norm=number(found["norm"]),
        norm_of_others=number(found["norm_of_others"]),
    )


def number(value: Any) -> float:
    """Convert a value of a log to a float; NaN if it has none."""
    return math.nan if value is None else float(value)
