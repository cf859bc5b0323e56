"""How the pieces that the vocabulary gained fare: how often the data uses them, and their rows.

A model that `linly model extend` wrote says in its config.json how many pieces it had before
(`base_vocab_size`); for any other there is nothing to tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from linly.data.mixing.mixed_row import MixedRow
from linly.errors import ConfigError
from linly.modeling.embeddings import BASE_VOCABULARY_KEY
from linly.modeling.stored.weight_files import read_json_object
from linly.tokenization.tokenizer import Tokenizer

_ROWS_AT_A_TIME = 4096


class NewPieces:
    """Counts the use of new pieces, and compares their embedding rows with the others'."""

    def __init__(self, first: int, end: int) -> None:
        """Watch the pieces [first, end)."""
        assert 0 < first < end
        self._first = first
        self._seen = np.zeros(end - first, np.bool_)
        self._num_new = 0
        self._num_tokens = 0

    @classmethod
    def of_model(cls, model: Path, tokenizer: Tokenizer) -> NewPieces | None:
        """Those of a model folder; None where it does not say, or has none.

        Raises:
            ConfigError: What config.json says cannot be.
        """
        first = read_json_object(model / "config.json").get(BASE_VOCABULARY_KEY)
        if first is None:
            return None
        if not isinstance(first, int) or not 0 < first <= tokenizer.vocab_size:
            raise ConfigError(
                f"model {model}: config.json says {BASE_VOCABULARY_KEY} is {first!r}, allowed: at "
                f"most the {tokenizer.vocab_size:,} pieces of its tokenizer; correct it, or take "
                f"it out"
            )
        return cls(first, tokenizer.vocab_size) if first < tokenizer.vocab_size else None

    def count(self, rows: Sequence[MixedRow]) -> None:
        """Count a step's rows; padding is not counted."""
        for mixed in rows:
            ids = mixed.row.ids[: len(mixed.row.ids) - mixed.row.num_padding]
            new = ids[ids >= self._first]
            self._seen[new - self._first] = True
            self._num_new += len(new)
            self._num_tokens += len(ids)

    def record(self, model: PreTrainedModel) -> dict[str, Any]:
        """What an evaluation's line says of them.

        Args:
            model: Its input embedding is looked at.

        Returns:
            `num_pieces`; `num_seen` of them in the data so far; `share_of_tokens`, their part of
            these tokens (None before the first); mean norms of embedding rows, `norm` of theirs
            and `norm_of_others`.
        """
        weight = model.get_input_embeddings().weight
        return {
            "num_pieces": len(self._seen),
            "num_seen": int(self._seen.sum()),
            "share_of_tokens": self._num_new / self._num_tokens if self._num_tokens else None,
            "norm": _mean_norm(weight, self._first, self._first + len(self._seen)),
            "norm_of_others": _mean_norm(weight, 0, self._first),
        }

    def state_dict(self) -> dict[str, Any]:
        """Counts, as JSON; which pieces were seen as the bits of hexadecimal digits."""
        return {
            "first": self._first,
            "num_pieces": len(self._seen),
            "seen": np.packbits(self._seen).tobytes().hex(),
            "num_new": self._num_new,
            "num_tokens": self._num_tokens,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's counts."""
        assert (state["first"], state["num_pieces"]) == (self._first, len(self._seen))
        bits = np.frombuffer(bytes.fromhex(state["seen"]), np.uint8)
        self._seen = np.unpackbits(bits, count=len(self._seen)).astype(np.bool_)
        self._num_new = state["num_new"]
        self._num_tokens = state["num_tokens"]


@torch.no_grad()
def _mean_norm(weight: Any, start: int, end: int) -> float:
    """Mean length of some rows, in fp32 whatever the weights are."""
    total = 0.0
    for first in range(start, end, _ROWS_AT_A_TIME):
        rows = weight[first : min(first + _ROWS_AT_A_TIME, end)].float()
        total += float(rows.norm(dim=1).sum())
    return total / (end - start)
