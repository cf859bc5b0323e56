"""Rows as text, for `linly mix --text`: each document with its source and the parts with loss."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from linly.cli.shown_text import labelled, printable
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import IGNORE_LABEL
from linly.tokenization.tokenizer import Tokenizer

MAX_CHARACTERS = 600
"""Characters shown of a part of a document."""

MAX_PARTS = 40
"""Parts shown of a row: a document has one for each change between loss and no loss."""


class RowPrinter:
    """Formats rows as text."""

    def __init__(self, tokenizer: Tokenizer, global_batch: int) -> None:
        """Format rows of a tokenizer's ids, in steps of `global_batch` rows."""
        self._tokenizer = tokenizer
        self._global_batch = global_batch
        self._partial = tokenizer.partial_ids()

    def text(self, mixed: MixedRow) -> str:
        """Return a row as lines, with a newline at the end.

        Long texts are shortened, and control characters are escaped.
        """
        row = mixed.row
        padding = f", {row.num_padding:,} of padding" if row.num_padding else ""
        lines = [
            f"row {mixed.index}  step {mixed.index // self._global_batch + 1}  {row.source}  "
            f"epoch {row.epoch}  {len(row.ids):,} tokens, {row.num_supervised:,} with loss{padding}"
        ]
        num_parts = 0
        starts = [*row.starts.tolist(), len(row.ids) - row.num_padding]
        for number, span in enumerate(row.spans):
            if num_parts >= MAX_PARTS:
                lines.append(f"  ... and {len(row.spans) - number:,} more documents")
                break
            begin, end = starts[number], starts[number + 1]
            lines.append(
                f"  {printable(span.shard)}, record {span.record:,}, "
                f"tokens {span.start:,} to {span.end:,}"
            )
            parts = list(self._parts(mixed, begin, end))
            shown = parts[: MAX_PARTS - num_parts]
            lines += [f"    {part}".replace("\n", "\n    ") for part in shown]
            if len(shown) < len(parts):
                lines.append(f"    ... and {len(parts) - len(shown):,} more parts")
            num_parts += len(shown)
        return "\n".join(lines) + "\n"

    def _parts(self, mixed: MixedRow, begin: int, end: int) -> Iterator[str]:
        """Yield the parts of a document with and without loss."""
        supervised = mixed.row.labels[begin:end] != IGNORE_LABEL
        edges = np.flatnonzero(np.diff(supervised)) + 1
        for ids in np.split(mixed.row.ids[begin:end], edges):
            at = begin
            begin += len(ids)
            has_loss = bool(mixed.row.labels[at] != IGNORE_LABEL)
            yield "".join(labelled(self._decoded(ids.tolist()), has_loss, MAX_CHARACTERS))

    def _decoded(self, ids: list[int]) -> str:
        """Return the text of ids; special tokens, such as the end of a document, by name."""
        return "".join(
            self._tokenizer.decode(list(group))
            if is_text
            else "".join(map(self._tokenizer.piece, group))
            for is_text, group in groupby(ids, self._is_text)
        )

    def _is_text(self, token: int) -> bool:
        return self._tokenizer.is_text(token) or bool(self._partial[token])
