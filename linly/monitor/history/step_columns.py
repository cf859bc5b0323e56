"""Arrays of a run's steps: one row per step, one column per source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linly.records.metrics import Line, metrics_of
from linly.records.step_record import StepRecord

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def step_columns(steps: Sequence[StepRecord], sources: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of `History` from the steps, by attribute name."""

    def by_source(values: Iterable[Mapping[str, Any]], *, missing: float = 0.0) -> Floats:
        return _by_source(values, sources, missing=missing)

    return {
        "step": np.array([step.step for step in steps], np.int64),
        "time": _floats(step.time for step in steps),
        "tokens_seen": np.array([step.tokens_seen for step in steps], np.int64),
        "loss": _floats(step.loss for step in steps),
        "lr": _floats(step.lr for step in steps),
        "tokens_per_second": _floats(step.tokens_per_second for step in steps),
        "skipped": np.array([step.skipped for step in steps]),
        "loss_by_source": by_source((step.loss_by_source for step in steps), missing=math.nan),
        "target_share": by_source(step.target_share_by_source for step in steps),
        "planned_rows": by_source(step.planned_rows_by_source for step in steps),
        "rows": _counts((step.rows_by_source for step in steps), sources),
        "supervised_tokens": _counts((s.supervised_tokens_by_source for s in steps), sources),
        "padding": _counts((step.padding_by_source for step in steps), sources),
        "drift": by_source(step.drift_rows_by_source for step in steps),
        "epoch": by_source((step.epoch_by_source for step in steps), missing=math.nan),
    }


def metric_lines(steps: Sequence[StepRecord], sources: Sequence[str]) -> dict[str, Floats]:
    """Array of each metric with a `Line` in the table, by key."""
    return {
        key: _line([getattr(step, key) for step in steps], sources)
        for key, entry in metrics_of(StepRecord).items()
        if isinstance(entry.shown, Line)
    }


def _line(values: Sequence[Any], sources: Sequence[str]) -> Floats:
    if isinstance(values[0], Mapping):
        return _by_source(values, sources, missing=math.nan)
    return _floats(values)


def number(value: float | None) -> float:
    """A value of a log as a float; NaN if it has none."""
    return math.nan if value is None else float(value)


def _floats(values: Iterable[float | None]) -> Floats:
    return np.array([number(value) for value in values], np.float64)


def _by_source(
    values: Iterable[Mapping[str, float | None]], sources: Sequence[str], *, missing: float
) -> Floats:
    """Array of a mapping per source, float64 [n, k]; `missing` for a source not in it."""
    rows = [[number(found.get(name, missing)) for name in sources] for found in values]
    return np.array(rows, np.float64).reshape(len(rows), len(sources))


def _counts(values: Iterable[Mapping[str, int]], sources: Sequence[str]) -> Integers:
    """Array of a count per source, int64 [n, k]; 0 for a source not in it."""
    rows = [[found.get(name, 0) for name in sources] for found in values]
    return np.array(rows, np.int64).reshape(len(rows), len(sources))
