"""Statistics of added vocabulary pieces: their use in the data, and their embedding norms.

A model written by `linly model extend` has its former number of pieces in config.json
(`base_vocab_size`). Other models have no such statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from linly.data.mixing.mixed_row import MixedRow
from linly.modeling.parts.new_rows import read_new_rows
from linly.records.evaluation_record import NewPieceStatistics
from linly.tokenization.tokenizer import Tokenizer

_ROWS_AT_A_TIME = 4096


class NewPieces:
    """Counts the use of new pieces, and compares their embedding norms with the others."""

    def __init__(self, first: int, end: int) -> None:
        """Count the pieces [first, end)."""
        assert 0 < first < end
        self._first = first
        self._seen = np.zeros(end - first, np.bool_)
        self._num_new = 0
        self._num_tokens = 0

    @classmethod
    def of_model(cls, model: Path, tokenizer: Tokenizer) -> NewPieces | None:
        """Counter for a model folder; None if config.json names no base size, or none were added.

        Raises:
            ConfigError: If the base size in config.json is invalid.
        """
        rows = read_new_rows(model, tokenizer)
        return None if rows is None else cls(rows.start, rows.stop)

    @property
    def first(self) -> int:
        """Number of pieces before the vocabulary was extended."""
        return self._first

    def count(self, rows: Sequence[MixedRow]) -> None:
        """Count a step's rows; padding is not counted."""
        for mixed in rows:
            ids = mixed.row.ids[: len(mixed.row.ids) - mixed.row.num_padding]
            new = ids[ids >= self._first]
            self._seen[new - self._first] = True
            self._num_new += len(new)
            self._num_tokens += len(ids)

    def record(self, model: PreTrainedModel) -> NewPieceStatistics:
        """Statistics for an evaluation record.

        Args:
            model: Model whose input embedding is measured.
        """
        weight = model.get_input_embeddings().weight
        return NewPieceStatistics(
            num_pieces=len(self._seen),
            num_seen=int(self._seen.sum()),
            share_of_tokens=self._num_new / self._num_tokens if self._num_tokens else None,
            norm=_mean_norm(weight, self._first, self._first + len(self._seen)),
            norm_of_others=_mean_norm(weight, 0, self._first),
        )

    def state_dict(self) -> dict[str, Any]:
        """Counts in JSON form; the seen pieces are a bit mask in hexadecimal."""
        return {
            "first": self._first,
            "num_pieces": len(self._seen),
            "seen": np.packbits(self._seen).tobytes().hex(),
            "num_new": self._num_new,
            "num_tokens": self._num_tokens,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a checkpoint's counts."""
        assert (state["first"], state["num_pieces"]) == (self._first, len(self._seen))
        bits = np.frombuffer(bytes.fromhex(state["seen"]), np.uint8)
        self._seen = np.unpackbits(bits, count=len(self._seen)).astype(np.bool_)
        self._num_new = state["num_new"]
        self._num_tokens = state["num_tokens"]


@torch.no_grad()
def _mean_norm(weight: Any, start: int, end: int) -> float:
    """Mean norm of a range of rows, computed in fp32."""
    total = 0.0
    for first in range(start, end, _ROWS_AT_A_TIME):
        rows = weight[first : min(first + _ROWS_AT_A_TIME, end)].float()
        total += float(rows.norm(dim=1).sum())
    return total / (end - start)
