"""Scalars of steps and evaluations, with the same keys for every plotting program.

loss  loss/SOURCE  share/SOURCE/target  share/SOURCE/realized  fill/SOURCE  drift_rows/SOURCE
bits_per_byte/SOURCE  held_out_loss/SOURCE  held_out_loss_at_fixed_shares
language/CODE/bits_per_byte  language/CODE/change  new_pieces/...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

_PLAIN = ("loss", "lr", "grad_norm", "tokens_per_second", "data_wait_fraction", "mfu")
_BY_SOURCE = (
    ("loss/{}", "loss_by_source"),
    ("share/{}/target", "target_share_by_source"),
    ("share/{}/realized", "realized_share_by_source"),
    ("drift_rows/{}", "drift_rows_by_source"),
)
_NOT_IN_A_NAME = re.compile(r"[^\w-]")


class ScalarLog(Protocol):
    """Log of a plotting program; used on rank 0 only."""

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Add scalars of a step; steps do not descend, and may repeat."""

    def close(self) -> None:
        """Write buffered scalars and close the log."""


def step_scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Scalars of a metrics.jsonl record; None values are omitted."""
    found = {name: metrics.get(name) for name in _PLAIN}
    found["tokens_seen"] = metrics["tokens_seen"]
    for key, column in _BY_SOURCE:
        for source, value in metrics[column].items():
            found[key.format(key_of(source))] = value
    for source, fill in fill_by_source(metrics).items():
        found[f"fill/{key_of(source)}"] = fill
    drifts = metrics["drift_rows_by_source"].values()
    found["drift_rows_largest"] = max((abs(drift) for drift in drifts), default=None)
    return _known(found.items())


def fill_by_source(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Fraction of each source's positions so far that are not padding; sources with rows only."""
    rows, padding = metrics["rows_by_source"], metrics["padding_by_source"]
    num_rows = sum(rows.values())
    row_length = metrics["tokens_seen"] / num_rows if num_rows else 0
    return {
        source: 1 - padding[source] / (count * row_length)
        for source, count in rows.items()
        if count
    }


def evaluation_scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Scalars of an evaluations.jsonl record; None values are omitted."""
    found: dict[str, Any] = {"tokens_seen": record["tokens_seen"]}
    for source, figures in record["sources"].items():
        found[f"bits_per_byte/{key_of(source)}"] = figures["bits_per_byte"]
        found[f"held_out_loss/{key_of(source)}"] = figures["loss"]
    for language, figures in (record.get("languages") or {}).items():
        for name, value in figures.items():
            found[f"language/{key_of(language)}/{name}"] = value
    found["held_out_loss_at_fixed_shares"] = record.get("loss_at_fixed_shares")
    for name, value in (record.get("new_pieces") or {}).items():
        found[f"new_pieces/{name}"] = value
    return _known(found.items())


def key_of(name: str) -> str:
    """A name quoted for a key: letters, digits, '_' and '-' are kept, other bytes become %XX."""

    def quoted(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    return _NOT_IN_A_NAME.sub(quoted, name)


def _known(pairs: Iterable[tuple[str, Any]]) -> dict[str, float]:
    return {key: float(value) for key, value in pairs if value is not None}
