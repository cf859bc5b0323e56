"""The state of a run that has only just begun, as a checkpoint holds it."""

from __future__ import annotations

from typing import Any

from linly.data.mixing.state import Identity, MixerState
from linly.training.checkpoints.state_form import STATE_VERSION


def small_state(step: int, **changed: Any) -> dict[str, Any]:
    """The state after some steps of two rows; `changed` replaces keys of it, or adds some."""
    data = MixerState(Identity(1, 7, 32, "0" * 64, {}), row=2 * step)
    return {
        "version": STATE_VERSION,
        "step": step,
        "optimizer_steps": step,
        "world_size": 1,
        "recipe": {
            "model": "models/one",
            "curriculum": {"name": "mixture"},
            "corpora": {},
            "data": {"global_batch": 2},
            "training": {"trainable": "full"},
        },
        "model": {},
        "data": data.to_json(),
        "guards": {"windows": {}, "consecutive": 0, "total": 0},
        "books": {
            "rows": {},
            "supervised": {},
            "padding": {},
            "epochs": {},
            "segment_from": 0,
            "rows_before": {},
            "largest_drift": 0.0,
            "tokens_seen": 0,
            "new_pieces": None,
        },
        "baseline": {},
        "latest": {},
        "evaluated_step": None,
    } | changed
