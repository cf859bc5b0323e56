"""When a run should call for a person: rules over its steps and evaluations, without any I/O.

An alarm is raised when its condition begins to hold, and again only after it has ceased: a run that
stays bad does not repeat itself every step.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from linly.config.settings import AlarmSettings

Rule = Literal["drift", "loss_rise", "forgetting", "data_wait", "quarantine"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that began to hold.

    Attributes:
        step: At which it did.
        rule: The setting that it went over.
        source: Whose it is; empty where it is the whole run's.
        text: In words, with what was found and what is allowed.
    """

    step: int
    rule: Rule
    source: str
    text: str


def loss_rise(losses: Sequence[float], window: int) -> float | None:
    """Rise of the mean loss of the last `window` values over that of the `window` before.

    Returns:
        As a part of the earlier mean; None before there are two full windows.
    """
    if len(losses) < 2 * window:
        return None
    before = sum(islice(losses, len(losses) - 2 * window, len(losses) - window)) / window
    now = sum(islice(losses, len(losses) - window, len(losses))) / window
    return now / before - 1 if before > 0 else None


class AlarmWatch:
    """Looks at every step and evaluation of a run in order."""

    def __init__(self, settings: AlarmSettings) -> None:
        """Watch by these limits, from before the first step or by replaying the log."""
        self._settings = settings
        window = settings.window
        self._losses: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=2 * window))
        self._waits: deque[float] = deque(maxlen=window)
        self._rows: deque[tuple[int, int]] = deque(maxlen=window)
        self._rows_before = 0
        self._before: dict[str, float] = {}
        self._holding: set[tuple[Rule, str]] = set()

    def step(self, metrics: Mapping[str, Any], *, bad_records: int = 0) -> list[Alarm]:
        """Alarms that a step raises.

        Args:
            metrics: Its line of metrics.jsonl.
            bad_records: That were set aside while its rows were made.
        """
        step = int(metrics["step"])
        found = [
            *self._drift(metrics.get("drift_rows_by_source") or {}),
            *self._loss_rise(
                metrics.get("loss_by_source") or {}, skipped=bool(metrics.get("skipped"))
            ),
            *self._data_wait(metrics.get("data_wait_fraction")),
            *self._quarantine(metrics.get("rows_by_source") or {}, bad_records),
        ]
        return [self._alarm(step, *one) for one in found if self._begins(*one[:3])]

    def evaluation(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Alarms that an evaluation raises: sources that got worse than at step 0."""
        bits = {
            name: float(figures["bits_per_byte"])
            for name, figures in (record.get("sources") or {}).items()
            if figures.get("bits_per_byte") is not None
        }
        if record["step"] == 0:
            self._before = bits
        limit = self._settings.forgetting
        found: list[tuple[Rule, str, bool, str]] = []
        for name, now in bits.items():
            before = self._before.get(name)
            if before:
                worse = now / before - 1
                text = (
                    f"source {name}: held-out bits per byte {worse:+.1%} since step 0 "
                    f"({before:.3f} to {now:.3f}), allowed: {limit:+.1%}"
                )
                found.append(("forgetting", name, worse > limit, text))
        return [self._alarm(record["step"], *one) for one in found if self._begins(*one[:3])]

    def _begins(self, rule: Rule, source: str, holds: bool) -> bool:
        """Note whether a condition holds; whether it did not before."""
        key = (rule, source)
        was_holding = key in self._holding
        (self._holding.add if holds else self._holding.discard)(key)
        return holds and not was_holding

    def _alarm(self, step: int, rule: Rule, source: str, _: bool, text: str) -> Alarm:
        return Alarm(step, rule, source, text)

    def _drift(self, drift: Mapping[str, float]) -> Iterator[tuple[Rule, str, bool, str]]:
        limit = self._settings.drift
        for source, rows in drift.items():
            text = f"source {source}: {rows:+.2f} rows off its plan, allowed: {limit:g}"
            yield "drift", source, abs(rows) > limit, text

    def _loss_rise(
        self, losses: Mapping[str, float | None], *, skipped: bool
    ) -> Iterator[tuple[Rule, str, bool, str]]:
        window, limit = self._settings.window, self._settings.loss_rise
        for source, loss in losses.items():
            if loss is None or skipped:  # a skipped step taught nothing, and its loss may be wild
                continue
            self._losses[source].append(loss)
            rise = loss_rise(self._losses[source], window)
            if rise is not None:
                text = (
                    f"source {source}: loss {rise:+.1%} over its last {window} steps against the "
                    f"{window} before, allowed: {limit:+.1%}"
                )
                yield "loss_rise", source, rise > limit, text

    def _data_wait(self, wait: float | None) -> Iterator[tuple[Rule, str, bool, str]]:
        if wait is None:  # nothing was computed that could have waited
            return
        self._waits.append(wait)
        if len(self._waits) == self._waits.maxlen:
            mean, limit = sum(self._waits) / len(self._waits), self._settings.data_wait
            text = (
                f"waiting for data {mean:.1%} of the last {len(self._waits)} steps, "
                f"allowed: {limit:.1%}; more data.producers may help"
            )
            yield "data_wait", "", mean > limit, text

    def _quarantine(
        self, rows: Mapping[str, int], bad_records: int
    ) -> Iterator[tuple[Rule, str, bool, str]]:
        total = sum(rows.values())
        self._rows.append((total - self._rows_before, bad_records))
        self._rows_before = total
        if len(self._rows) == self._rows.maxlen:
            num_rows = sum(made for made, _ in self._rows)
            num_bad = sum(bad for _, bad in self._rows)
            limit = self._settings.quarantine
            text = (
                f"{num_bad} bad records for the last {num_rows} rows, "
                f"allowed: {limit:.1%}; quarantine.jsonl names them"
            )
            yield "quarantine", "", num_bad > limit * num_rows, text
