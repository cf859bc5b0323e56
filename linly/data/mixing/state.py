"""State of the mixer: a few integers per source, the same on every rank, as versioned JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from linly.data.cursor import SourceCursor
from linly.data.mixing.mixed_row import MixedRow
from linly.errors import CheckpointError

STATE_VERSION = 1

_KEYS = {
    "version",
    "identity",
    "row",
    "segment_from",
    "counts",
    "rows",
    "supervised_tokens",
    "cursors",
    "order_hash",
}
_COUNTED = _KEYS - {"version", "identity", "order_hash"}
"""Keys that contain only counts and positions."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Inputs besides the curriculum that the order of rows depends on; a state fits only its own.

    Attributes:
        order_version: Value of `linly.data.mixing.order.ORDER_VERSION`.
        seed: Seed of the recipe.
        sequence_length: Row length in tokens.
        tokenizer: Sha256 of its model file.
        sources: Source name -> sha256 of its shard list and of its corpus file's settings for
            records.
    """

    order_version: int
    seed: int
    sequence_length: int
    tokenizer: str
    sources: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "order_version": self.order_version,
            "seed": self.seed,
            "sequence_length": self.sequence_length,
            "tokenizer": self.tokenizer,
            "sources": dict(sorted(self.sources.items())),
        }

    @classmethod
    def of_json(cls, value: Any) -> Identity:
        """Restore from `to_json`.

        Raises:
            CheckpointError: If the value is not an identity.
        """
        kinds = {"order_version": int, "seed": int, "sequence_length": int, "tokenizer": str}
        if (
            not isinstance(value, dict)
            or any(type(value.get(key)) is not kind for key, kind in kinds.items())
            or not isinstance(value.get("sources"), dict)
            or not all(isinstance(text, str) for text in value["sources"].values())
        ):
            raise CheckpointError(f"the mixer state is damaged: identity: found {value!r:.200}")
        return cls(**{key: value[key] for key in kinds}, sources=dict(value["sources"]))

    def check(self, found: dict[str, Any]) -> None:
        """Compare with the identity in a state; a source that only one of them has is ignored.

        Raises:
            CheckpointError: If they differ; names all differences.
        """
        expected = self.to_json()
        differences = [
            f"{key} (state: {found.get(key)}, run: {expected[key]})"
            for key in ("order_version", "seed", "sequence_length", "tokenizer")
            if found.get(key) != expected[key]
        ]
        differences += [
            f"shards or corpus file of source {name!r}"
            for name, value in sorted(self.sources.items())
            if found.get("sources", {}).get(name, value) != value
        ]
        if differences:
            raise CheckpointError(
                f"the state belongs to another stream of rows; differences: "
                f"{', '.join(differences)}. Restore the original inputs, or start a new run"
            )


@dataclass(slots=True)
class MixerState:
    """Position of the global stream after the last row *consumed*.

    Attributes:
        identity: Identity of the stream.
        row: Index of the next row.
        phase_from: First row of the curriculum phase of the last row.
        counts: Rows per source within that phase.
        rows: Rows per source over the whole run.
        supervised_tokens: Labels with loss per source over the whole run.
        cursors: Cursor of each source; none for a source without a row so far.
        order_hash: Rolling sha256 over the digests of all rows (hex); hash of the identity at row
            0, so that ranks that see different shards differ before the first row.
    """

    identity: Identity
    row: int = 0
    phase_from: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    supervised_tokens: dict[str, int] = field(default_factory=dict)
    cursors: dict[str, SourceCursor] = field(default_factory=dict)
    order_hash: str = ""

    def __post_init__(self) -> None:
        """Initialize the rolling hash."""
        if not self.order_hash:
            text = orjson.dumps(self.identity.to_json(), option=orjson.OPT_SORT_KEYS)
            self.order_hash = hashlib.sha256(text).hexdigest()

    def advance(self, mixed: MixedRow) -> None:
        """Count a row as consumed; rows must come in order, without gaps."""
        assert mixed.index == self.row, f"row {mixed.index} consumed where {self.row} is next"
        if mixed.phase_from != self.phase_from:
            self.phase_from = mixed.phase_from
            self.counts = {}
        name = mixed.row.source
        self.row += 1
        self.counts[name] = self.counts.get(name, 0) + 1
        self.rows[name] = self.rows.get(name, 0) + 1
        supervised = self.supervised_tokens.get(name, 0) + mixed.row.num_supervised
        self.supervised_tokens[name] = supervised
        self.cursors[name] = mixed.row.cursor
        rolled = hashlib.sha256(bytes.fromhex(self.order_hash) + mixed.digest)
        self.order_hash = rolled.hexdigest()

    def copy(self) -> MixerState:
        """An independent copy."""
        return MixerState(
            identity=self.identity,
            row=self.row,
            phase_from=self.phase_from,
            counts=dict(self.counts),
            rows=dict(self.rows),
            supervised_tokens=dict(self.supervised_tokens),
            cursors=dict(self.cursors),
            order_hash=self.order_hash,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "version": STATE_VERSION,
            "identity": self.identity.to_json(),
            "row": self.row,
            "segment_from": self.phase_from,
            "counts": dict(sorted(self.counts.items())),
            "rows": dict(sorted(self.rows.items())),
            "supervised_tokens": dict(sorted(self.supervised_tokens.items())),
            "cursors": {name: cursor.to_json() for name, cursor in sorted(self.cursors.items())},
            "order_hash": self.order_hash,
        }

    @classmethod
    def from_json(cls, value: Any, identity: Identity) -> MixerState:
        """Restore from `to_json`, for a stream of this identity.

        Raises:
            CheckpointError: If it is not a state, or of another version or another stream.
        """
        version = value.get("version") if isinstance(value, dict) else None
        if type(version) is not int or version != STATE_VERSION:
            found = version if isinstance(value, dict) else type(value).__name__
            raise CheckpointError(f"not a mixer state of version {STATE_VERSION}: found {found!r}")
        if set(value) != _KEYS:
            raise CheckpointError(
                f"the mixer state is damaged: keys {sorted(set(value) ^ _KEYS)} are missing or "
                f"unknown"
            )
        for key in sorted(_COUNTED):
            if not _is_counted(value[key]):
                raise CheckpointError(
                    f"the mixer state is damaged: {key}: found {_shown(value[key])}, allowed: "
                    f"whole numbers from 0 on"
                )
        Identity.of_json(value["identity"])
        try:
            identity.check(value["identity"])
            return cls(
                identity=identity,
                row=int(value["row"]),
                phase_from=int(value["segment_from"]),
                counts=_integers(value["counts"]),
                rows=_integers(value["rows"]),
                supervised_tokens=_integers(value["supervised_tokens"]),
                cursors={
                    name: SourceCursor.from_json(cursor)
                    for name, cursor in value["cursors"].items()
                },
                order_hash=bytes.fromhex(value["order_hash"]).hex(),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the mixer state is damaged: {error!r}") from error


def _is_counted(value: Any) -> bool:
    """Whether JSON contains only whole numbers from 0 on, and null for unknown counts."""
    if isinstance(value, dict):
        return all(map(_is_counted, value.values()))
    if isinstance(value, list):
        return all(map(_is_counted, value))
    return value is None or (type(value) is int and value >= 0)


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()[:200]


def _integers(value: dict[str, Any]) -> dict[str, int]:
    return {name: int(count) for name, count in value.items()}
