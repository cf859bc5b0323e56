"""Alarm rules over steps and evaluations, without I/O.

An alarm is raised when its condition becomes true, and again only after it has been false, so that
a run that stays bad does not repeat the alarm every step.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from linly.config.sections.watching_sections import AlarmSettings
from linly.records.evaluation_record import EvaluationRecord
from linly.records.metrics import AlarmRule
from linly.records.step_record import StepRecord
from linly.records.task_record import TaskEvaluation, task_drop


class _Condition(NamedTuple):
    """A rule's condition as of a step or evaluation.

    Attributes:
        rule: Setting with the limit.
        source: Source concerned; empty if it is the whole run.
        holds: Whether the limit is exceeded.
        text: Description with the found value and the limit.
    """

    rule: AlarmRule
    source: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that has become true.

    Attributes:
        step: Step at which it became true.
        rule: Setting whose limit was exceeded.
        source: Source concerned; empty if it is the whole run.
        text: Description with the found value and the limit.
    """

    step: int
    rule: AlarmRule
    source: str
    text: str


def loss_rise(losses: Sequence[float], window: int) -> float | None:
    """Relative rise of the mean of the last `window` losses over that of the `window` before.

    Returns:
        The rise as a fraction of the earlier mean; None before there are two full windows.
    """
    if len(losses) < 2 * window:
        return None
    before = sum(islice(losses, len(losses) - 2 * window, len(losses) - window)) / window
    now = sum(islice(losses, len(losses) - window, len(losses))) / window
    return now / before - 1 if before > 0 else None


class AlarmWatch:
    """Checks every step and evaluation of a run in order."""

    def __init__(self, settings: AlarmSettings) -> None:
        """Start before the first step, or before a replay of the log."""
        self._settings = settings
        window = settings.window
        self._losses: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=2 * window))
        self._waits: deque[float] = deque(maxlen=window)
        self._rows: deque[tuple[int, int]] = deque(maxlen=window)
        self._rows_before = 0
        self._before: dict[str, float] = {}
        self._tasks_before: Mapping[str, TaskEvaluation] = {}
        self._holding: set[tuple[AlarmRule, str]] = set()

    def step(self, record: StepRecord, *, bad_records: int = 0) -> list[Alarm]:
        """Alarms that a step raises.

        Args:
            record: Record of the step.
            bad_records: Number of records quarantined while its rows were built.
        """
        found = [
            *self._drift(record.drift_rows_by_source),
            *self._loss_rise(record.loss_by_source, skipped=record.skipped),
            *self._data_wait(record.data_wait_fraction),
            *self._quarantine(record.rows_by_source, bad_records),
        ]
        return self._begun(record.step, found)

    def evaluation(self, record: EvaluationRecord) -> list[Alarm]:
        """Alarms that an evaluation raises: sources and tasks that are worse than at step 0."""
        bits = {
            name: result.bits_per_byte
            for name, result in record.sources.items()
            if result.bits_per_byte is not None
        }
        if record.step == 0:
            self._before, self._tasks_before = bits, record.tasks
        limit = self._settings.forgetting
        found: list[_Condition] = []
        for name, now in bits.items():
            before = self._before.get(name)
            if before:
                worse = now / before - 1
                text = (
                    f"source {name}: held-out bits per byte {worse:+.1%} since step 0 "
                    f"({before:.3f} to {now:.3f}), allowed: {limit:+.1%}"
                )
                found.append(_Condition("forgetting", name, worse > limit, text))
        found += self._task_drop(record.tasks)
        return self._begun(record.step, found)

    def _task_drop(self, tasks: Mapping[str, TaskEvaluation]) -> Iterator[_Condition]:
        limit = self._settings.task_drop
        for name, now in tasks.items():
            before = self._tasks_before.get(name)
            drop = task_drop(before, now)
            if before is not None and drop is not None:
                figure = now.watched.replace("_", " ")
                text = (
                    f"task {name}: {figure} {drop:.1%} worse than at step 0 "
                    f"({before.watched_value:.3f} to {now.watched_value:.3f}), allowed: {limit:.1%}"
                )
                yield _Condition("task_drop", name, drop > limit, text)

    def _begun(self, step: int, found: Iterable[_Condition]) -> list[Alarm]:
        """Alarms of the conditions that have just become true."""
        alarms = []
        for condition in found:
            key = (condition.rule, condition.source)
            if condition.holds and key not in self._holding:
                alarms.append(Alarm(step, condition.rule, condition.source, condition.text))
            (self._holding.add if condition.holds else self._holding.discard)(key)
        return alarms

    def _drift(self, drift: Mapping[str, float]) -> Iterator[_Condition]:
        limit = self._settings.drift
        for source, rows in drift.items():
            text = f"source {source}: {rows:+.2f} rows off its plan, allowed: {limit:g}"
            yield _Condition("drift", source, abs(rows) > limit, text)

    def _loss_rise(
        self, losses: Mapping[str, float | None], *, skipped: bool
    ) -> Iterator[_Condition]:
        window, limit = self._settings.window, self._settings.loss_rise
        for source, loss in losses.items():
            if loss is None or skipped:  # a skipped step did not train, and its loss may be extreme
                continue
            self._losses[source].append(loss)
            rise = loss_rise(self._losses[source], window)
            if rise is not None:
                text = (
                    f"source {source}: loss {rise:+.1%} over its last {window} steps against the "
                    f"{window} before, allowed: {limit:+.1%}"
                )
                yield _Condition("loss_rise", source, rise > limit, text)

    def _data_wait(self, wait: float | None) -> Iterator[_Condition]:
        if wait is None:  # a step skipped by a fork is not timed
            return
        self._waits.append(wait)
        if len(self._waits) == self._waits.maxlen:
            mean, limit = sum(self._waits) / len(self._waits), self._settings.data_wait
            text = (
                f"waiting for data {mean:.1%} of the last {len(self._waits)} steps, "
                f"allowed: {limit:.1%}; more data.producers may help"
            )
            yield _Condition("data_wait", "", mean > limit, text)

    def _quarantine(self, rows: Mapping[str, int], bad_records: int) -> Iterator[_Condition]:
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
            yield _Condition("quarantine", "", num_bad > limit * num_rows, text)
