"""Tokens to rows: concatenate-and-chunk, best-fit with padding, or one document per row."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from linly.data.types import IGNORE_LABEL, EncodedDocument, Piece, Row


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens [start, end) of a document."""

    document: EncodedDocument
    start: int
    end: int

    def __len__(self) -> int:
        """Tokens."""
        return self.end - self.start


def make_row(
    source: str,
    epoch: int,
    stretches: Sequence[Stretch],
    *,
    sequence_length: int,
    padding_id: int,
) -> Row:
    """Concatenate spans into a row and pad the rest."""
    ends = list(accumulate(map(len, stretches)))
    starts = np.array([0, *ends[:-1]], np.int32)
    ids = np.empty(sequence_length, np.int32)
    ids[ends[-1] :] = padding_id
    np.concatenate([s.document.ids[s.start : s.end] for s in stretches], out=ids[: ends[-1]])
    supervised = np.zeros(sequence_length, np.bool_)
    np.concatenate(
        [s.document.supervised[s.start : s.end] for s in stretches], out=supervised[: ends[-1]]
    )
    supervised[starts] = False
    labels = ids.copy()
    labels[~supervised] = IGNORE_LABEL
    return Row(
        source=source,
        epoch=epoch,
        ids=ids,
        labels=labels,
        starts=starts,
        pieces=tuple(Piece(s.document.shard, s.document.record, s.start, s.end) for s in stretches),
        num_padding=sequence_length - ends[-1],
    )


def cut(document: EncodedDocument, sequence_length: int) -> list[Stretch]:
    """Cut a record's documents into spans of a row's length; the last of each may be shorter."""
    return [
        Stretch(document, start, min(start + sequence_length, end))
        for begin, end in zip(document.starts, document.ends, strict=True)
        for start in range(begin, end, sequence_length)
    ]


def documents_from(document: EncodedDocument, token: int) -> list[Stretch]:
    """A record's documents, or their remainder from a token on."""
    return [
        Stretch(document, max(begin, token), end)
        for begin, end in zip(document.starts, document.ends, strict=True)
        if end > token
    ]


def pack_best_fit(
    documents: Sequence[EncodedDocument], sequence_length: int
) -> list[list[Stretch]]:
    """Put every token of the documents into rows, each span into the fullest row that fits it.

    Best-fit decreasing (Ding et al. 2024, arXiv 2404.10830): only documents longer than a row are
    cut. Spans of a row keep the order of their documents.
    """
    stretches = [stretch for document in documents for stretch in cut(document, sequence_length)]
    by_length = sorted(range(len(stretches)), key=lambda index: -len(stretches[index]))
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (positions left, row), ascending
    for index in by_length:
        length = len(stretches[index])
        fits = bisect_left(room, (length, -1))
        if fits < len(room):
            left, row = room.pop(fits)
        else:
            left, row = sequence_length, len(rows)
            rows.append([])
        rows[row].append(index)
        if left > length:
            insort(room, (left - length, row))
    return [[stretches[index] for index in sorted(row)] for row in rows]
