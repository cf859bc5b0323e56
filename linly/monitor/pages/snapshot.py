"""Current content of the live page: parts as HTML, figures as JSON, rebuilt if a run changed.

A build takes a few hundredths of a second for thousands of steps. The next build waits for twenty
times that, or five seconds if that is shorter, however many browsers are connected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from linly.monitor.charts.charts import run_charts
from linly.monitor.charts.figures import Chart
from linly.monitor.charts.overlay import overlay_charts
from linly.monitor.history.follow import Look, RunFollower
from linly.monitor.history.history import History
from linly.monitor.history.named_runs import named_runs
from linly.monitor.number_words import duration
from linly.monitor.pages.overlay_page import overlay_parts
from linly.monitor.pages.page import page_parts

MAX_LOAD = 0.05
"""Fraction of a processor that a page may use while a run writes ..."""

MAX_PAUSE_S = 5.0
"""... unless it would then be older than this many seconds."""

STALL_STEPS, MIN_STALL_S = 20, 300.0
"""A run is stalled if no step ends for this many usual step times, and for at least this many
seconds, because evaluations and checkpoints take time."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Data for a browser to draw the page.

    Attributes:
        version: Identifier that changes with the runs.
        content: {"parts": HTML by name, "keys", "notes", "charts": figures by key, "steps",
            "tokens": to find the step of a point in a chart}.
    """

    version: str
    content: dict[str, Any]


class Snapshots:
    """Builds snapshots of a view: of one run, or of all followed runs."""

    def __init__(self, followers: Sequence[RunFollower]) -> None:
        """Show the runs of `followers`: one in full, several overlaid."""
        self._followers = tuple(followers)
        self._lock = threading.Lock()
        self._looks: tuple[Look, ...] = ()
        self._snapshot = Snapshot("", {})
        self._may_make_at = 0.0

    def now(self) -> tuple[Snapshot, tuple[Look, ...]]:
        """The newest snapshot and the current looks, which may be slightly newer."""
        with self._lock:
            self._looks = tuple(follower.look() for follower in self._followers)
            version = "-".join(str(look.version) for look in self._looks) or "0"
            if version != self._snapshot.version and time.monotonic() >= self._may_make_at:
                began = time.thread_time()
                self._snapshot = Snapshot(version, self._content())
                cost = time.thread_time() - began
                self._may_make_at = time.monotonic() + min(MAX_PAUSE_S, cost / MAX_LOAD)
            return self._snapshot, self._looks

    def _content(self) -> dict[str, Any]:
        histories = [look.history for look in self._looks if look.history is not None]
        if not histories:
            return {}
        if len(self._followers) > 1:
            runs = named_runs(histories)
            charts: Sequence[Chart] = overlay_charts(runs)
            return _content(overlay_parts(runs, charts), charts, None)
        history = histories[0]
        charts = run_charts(history)
        return _content(page_parts(history, charts), charts, history)


def _content(
    parts: Mapping[str, str], charts: Sequence[Chart], history: History | None
) -> dict[str, Any]:
    figures = {chart.key: chart.figure for chart in charts}
    content: dict[str, Any] = {
        "parts": parts,
        "keys": [f"{chart.key}:{chart.is_wide}:{chart.height_px}" for chart in charts],
        "notes": {chart.key: chart.note for chart in charts},
        "charts": orjson.loads(orjson.dumps(figures, option=orjson.OPT_SERIALIZE_NUMPY)),
    }
    if history is not None:
        content["steps"] = history.step.tolist()
        content["tokens"] = history.tokens_seen.tolist()
    return content


@dataclass(frozen=True, slots=True)
class Pulse:
    """Current state of a run, in a word and a sentence."""

    state: str
    text: str


def pulse(look: Look, now: float) -> Pulse:
    """Determine whether a run is waiting for its first step, live, over, stalled or unreadable.

    Args:
        look: Look at the run.
        now: Seconds since 1970.
    """
    if look.problem:
        return Pulse("problem", look.problem)
    if look.history is None:
        return Pulse("waiting", "waiting for the first step")
    history = look.history
    step, age = int(history.step[-1]), max(0.0, now - float(history.time[-1]))
    last = history.events[-1] if history.events else None
    if last is not None and last.kind in ("end", "stop") and last.step >= step:
        return Pulse("over", f"not running: {last.text}")
    ago = f"step {step:,}, {duration(age)} ago"
    if age > stall_limit(history):
        usual = duration(_usual_step_s(history))
        return Pulse("stalled", f"stalled: last {ago}; a step usually takes {usual}")
    return Pulse("live", f"live: {ago}")


def stall_limit(history: History) -> float:
    """Seconds without a step after which a run counts as stalled."""
    return max(MIN_STALL_S, STALL_STEPS * _usual_step_s(history))


def _usual_step_s(history: History) -> float:
    """Median seconds between two of the last steps."""
    times = history.time[-50:]
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0
