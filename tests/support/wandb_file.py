"""Reads what Weights & Biases writes offline: records in a LevelDB log, each a protobuf message."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

_BLOCK, _HEADER = 32768, struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_FILE_HEADER = 7


def read_records(path: Path) -> Iterator[Any]:
    """The messages of a `run-ID.wandb` file."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), _FILE_HEADER, b""
    assert data.startswith(b":W&B"), data[:8]
    while at + _HEADER.size <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER.size:
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        parts = (
            data[at : at + length] if kind in (_FULL, _FIRST) else parts + data[at : at + length]
        )
        at += length
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines that were logged, each by its keys."""
    return [
        {"/".join(item.nested_key) or item.key: orjson.loads(item.value_json) for item in line.item}
        for line in (record.history for record in read_records(path))
        if line.item
    ]


def read_run_id(path: Path) -> str:
    """The run that the file belongs to."""
    return next(
        str(r.run.run_id) for r in read_records(path) if r.WhichOneof("record_type") == "run"
    )


def read_x_axes(path: Path) -> dict[str, str]:
    """Metric -> what it is drawn over."""
    metrics = (r.metric for r in read_records(path) if r.WhichOneof("record_type") == "metric")
    return {m.name or m.glob_name: m.step_metric for m in metrics if m.step_metric}
