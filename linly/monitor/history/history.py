"""A run's logs as numpy arrays: one row per step, one column per source.

Everything shown about a run comes from here, so that the report, the picture and the live page
cannot disagree.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from linly.config.curriculum import Curriculum
from linly.config.sections.languages import Languages
from linly.config.source import languages_of
from linly.config.yaml.strict_model import first_problem
from linly.curriculum.timeline import Timeline, fold
from linly.errors import CheckpointError, TrainingError
from linly.monitor.history.decisions import Event, decision_events
from linly.monitor.history.step_columns import Floats, Integers, metric_lines, number, step_columns
from linly.records.evaluation_record import EvaluationRecord
from linly.records.measures import row_length
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder

_RECENT_STEPS = 100
"""Steps whose throughput predicts the time left."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The model's completion of a prompt at a step."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True)
class History:
    """History of a run: n steps, k sources; NaN where a step has no value.

    Attributes:
        path: The run folder.
        timeline: Timeline of the run by its decisions; None if the folder has no decisions.
        run_languages: Languages that the run keeps and learns.
        groups: Sources of each group, in the order of `sources`.
        sources: Names by group, then name; the columns of the [n, k] arrays.
        step: Step numbers, int64 [n].
        time: Seconds since 1970 at the end of each step.
        tokens_seen: Tokens of all sources so far, int64 [n].
        loss: Loss in nats per supervised token.
        tokens_per_second: Throughput; like all measurements NaN for a step that a fork skipped.
        skipped: Steps whose update the guards refused, or that a fork skipped.
        loss_by_source: float64 [n, k].
        target_share: Planned share of rows, float64 [n, k].
        planned_rows: Integral of the share at the end of each step, float64 [n, k].
        rows: Rows so far, int64 [n, k].
        supervised_tokens: Supervised tokens so far, int64 [n, k].
        padding: Positions without a document so far, int64 [n, k].
        drift: Rows minus planned rows where a step was farthest from the plan, float64 [n, k].
        epoch: Epochs so far, float64 [n, k].
        lines: Values of each metric with a `Line` in the table, by key: float64 [n], or [n, k] if
            it has a value per source.
        decisions: Decisions about later rows that still hold.
        quarantined: Number of bad records by (source, reason).
        quarantined_at: Number of bad records by (step, source).
        machine: Machine of the last start, as logged.
        versions: Versions of the last start, as logged.
    """

    path: Path
    timeline: Timeline | None
    run_languages: Languages
    groups: dict[str, tuple[str, ...]]
    sources: tuple[str, ...]
    step: Integers
    time: Floats
    tokens_seen: Integers
    loss: Floats
    lr: Floats
    tokens_per_second: Floats
    skipped: NDArray[np.bool_]
    loss_by_source: Floats
    target_share: Floats
    planned_rows: Floats
    rows: Integers
    supervised_tokens: Integers
    padding: Integers
    drift: Floats
    epoch: Floats
    lines: Mapping[str, Floats]
    evaluations: tuple[EvaluationRecord, ...]
    events: tuple[Event, ...]
    decisions: tuple[Event, ...]
    samples: tuple[Sample, ...]
    quarantined: dict[tuple[str, str], int]
    quarantined_at: dict[tuple[int, str], int]
    machine: dict[str, Any]
    versions: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.path.resolve().name

    @property
    def num_steps(self) -> int:
        """Steps in the log."""
        return len(self.step)

    def tokens_at(self, step: int) -> int:
        """Tokens seen after a step; 0 before the first."""
        index = int(np.searchsorted(self.step, step, side="right"))
        return int(self.tokens_seen[index - 1]) if index else 0

    @property
    def row_length(self) -> float:
        """Positions of a row; 0 without rows."""
        return row_length(int(self.tokens_seen[-1]), int(self.rows[-1].sum()))

    @property
    def largest_drift(self) -> float:
        """Largest drift of any source so far, in rows."""
        return float(np.max(np.abs(self.drift)))

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended: by its plan, or earlier because a source was used up."""
        last = self.events[-1] if self.events else None
        if last is not None and last.kind == "end" and last.step >= self.step[-1]:
            return True
        seen = int(self.tokens_seen[-1])
        tokens_per_step = seen / int(self.step[-1])
        return self.total_tokens is not None and self.total_tokens - seen < tokens_per_step

    @property
    def seconds_left(self) -> float:
        """Seconds in steps up to the end of the plan, at the latest throughput; NaN if unknown."""
        recent = self.tokens_per_second[-_RECENT_STEPS:]
        if self.total_tokens is None or not np.isfinite(recent).any():
            return math.nan
        return (self.total_tokens - int(self.tokens_seen[-1])) / float(np.nanmedian(recent))

    @property
    def training_s(self) -> float:
        """Seconds spent in steps, without evaluations and the time between two starts."""
        tokens = np.diff(self.tokens_seen, prepend=0)
        known = self.tokens_per_second > 0
        return float(np.sum(tokens[known] / self.tokens_per_second[known]))

    @property
    def mean_tokens_per_second(self) -> float:
        """Mean throughput over all computed steps; NaN without any."""
        tokens = np.diff(self.tokens_seen, prepend=0)[self.tokens_per_second > 0]
        return float(tokens.sum()) / self.training_s if len(tokens) else math.nan

    @property
    def curriculum(self) -> Curriculum | None:
        """Current curriculum; None if the folder has no decisions."""
        return self.timeline.curriculum if self.timeline else None

    @property
    def source_languages(self) -> dict[str, str]:
        """Language of each source, as far as its corpus or an evaluation names it."""
        ends = [*self.evaluations[:1], *self.evaluations[-1:]]
        evaluated = {name: found.language for e in ends for name, found in e.sources.items()}
        planned = (
            languages_of(self.timeline.sources, self.timeline.corpora) if self.timeline else {}
        )
        return {name: code for name, code in {**evaluated, **planned}.items() if code}

    @property
    def total_tokens(self) -> int | None:
        """Planned tokens of the curriculum; None without one."""
        return self.timeline.end_tokens if self.timeline else None


@dataclass(frozen=True, slots=True)
class Logs:
    """Records and lines of a run's logs, each log in the order written."""

    metrics: Sequence[StepRecord]
    evaluations: Sequence[EvaluationRecord]
    events: Sequence[Mapping[str, Any]]
    samples: Sequence[Mapping[str, Any]]
    quarantine: Sequence[Mapping[str, Any]]
    decisions: Sequence[Mapping[str, Any]]


def read_history(path: Path) -> History:
    """Read a run folder, even while it is being written.

    Raises:
        ConfigError: If there is no run at `path`.
        TrainingError: If a log is damaged, or has no step yet.
    """
    folder = RunFolder.open(path)
    logs = Logs(
        metrics=list(folder.read_steps()),
        evaluations=list(folder.read_evaluations()),
        events=list(folder.read("events")),
        samples=list(folder.read("samples")),
        quarantine=list(folder.read("quarantine")),
        decisions=list(folder.read("decisions")),
    )
    return make_history(path, logs)


def make_history(path: Path, logs: Logs) -> History:
    """Build the history from the lines of the logs.

    Raises:
        TrainingError: If they do not hold a step.
    """
    if not logs.metrics:
        raise TrainingError(f"run {path}: no step is in metrics.jsonl yet; train first")
    timeline = _timeline(path, logs.decisions)
    evaluations, repeats = _once(logs.evaluations)
    groups = _groups(timeline, logs.metrics)
    sources = tuple(name for names in groups.values() for name in names)
    return History(
        path=path,
        timeline=timeline,
        run_languages=_run_languages(path, logs.events),
        groups=groups,
        sources=sources,
        **step_columns(logs.metrics, sources),
        lines=metric_lines(logs.metrics, sources),
        evaluations=evaluations,
        events=(*map(_event, logs.events), *repeats),
        decisions=decision_events(logs.decisions),
        samples=tuple(map(_sample, logs.samples)),
        quarantined=_quarantined(logs.quarantine),
        quarantined_at=dict(_quarantined_at(logs.quarantine)),
        machine=_last(logs.events, "machine"),
        versions=_last(logs.events, "versions"),
    )


def longer_history(history: History, logs: Logs) -> History | None:
    """Append new lines to a history without reading the old ones again.

    Returns:
        The longer history; None if the plan of the run has changed, or the lines name a new
        source, which needs another column.
    """
    known = set(history.sources)
    if logs.decisions or any(
        not known.issuperset(record.rows_by_source) for record in logs.metrics
    ):
        return None
    evaluations, repeats = _once([*history.evaluations, *logs.evaluations])
    quarantined = Counter(history.quarantined)
    quarantined.update(_quarantined(logs.quarantine))
    quarantined_at = Counter(history.quarantined_at)
    quarantined_at.update(_quarantined_at(logs.quarantine))
    longer: dict[str, Any] = {}
    if logs.metrics:
        new = step_columns(logs.metrics, history.sources)
        longer = {n: np.concatenate([getattr(history, n), values]) for n, values in new.items()}
        lines = metric_lines(logs.metrics, history.sources)
        longer["lines"] = {
            key: np.concatenate([values, lines[key]]) for key, values in history.lines.items()
        }
    return replace(
        history,
        **longer,
        evaluations=evaluations,
        events=(*history.events, *map(_event, logs.events), *repeats),
        samples=(*history.samples, *map(_sample, logs.samples)),
        quarantined=dict(sorted(quarantined.items())),
        quarantined_at=dict(quarantined_at),
        machine=_last(logs.events, "machine") or history.machine,
        versions=_last(logs.events, "versions") or history.versions,
    )


def _timeline(path: Path, decisions: Sequence[Mapping[str, Any]]) -> Timeline | None:
    if not decisions:
        return None
    try:
        return fold(decisions)
    except CheckpointError as error:
        raise TrainingError(f"run {path}: {error}") from error


def _run_languages(path: Path, events: Sequence[Mapping[str, Any]]) -> Languages:
    """Languages as logged by the last start; the defaults if an earlier version wrote the log."""
    try:
        return Languages.model_validate(_last(events, "languages"))
    except ValidationError as error:
        raise TrainingError(
            f"run {path}: languages in events.jsonl: {first_problem(error)}; resume the run with "
            "other languages to correct them"
        ) from error


def _groups(timeline: Timeline | None, steps: Sequence[StepRecord]) -> dict[str, tuple[str, ...]]:
    """Groups of the curricula; sources that are only in the log come last, as "other"."""
    logged = {name for step in steps for name in step.rows_by_source}
    groups = timeline.groups if timeline else {}
    others = sorted(logged.difference(*groups.values()))
    if others:
        groups["other"] = (*groups.get("other", ()), *others)
    return groups


def _once(
    evaluations: Sequence[EvaluationRecord],
) -> tuple[tuple[EvaluationRecord, ...], list[Event]]:
    """Evaluations, each once, and an event for each that the log repeats."""
    kept: list[EvaluationRecord] = []
    repeats = []
    for found in evaluations:
        if kept and kept[-1].step == found.step:
            text = f"evaluations.jsonl has the evaluation of step {found.step} twice, read once"
            repeats.append(Event(found.step, number(found.time), "repeat", text))
        else:
            kept.append(found)
    return tuple(kept), repeats


def _event(record: Mapping[str, Any]) -> Event:
    return Event(
        step=record["step"],
        time=number(record.get("time")),
        kind=str(record.get("kind", "event")),
        text=str(record.get("text", "")),
    )


def _quarantined(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    counts = Counter((str(r.get("source", "")), str(r.get("reason", ""))) for r in records)
    return dict(sorted(counts.items()))


def _quarantined_at(records: Iterable[Mapping[str, Any]]) -> Counter[tuple[int, str]]:
    return Counter((int(r["step"]), str(r.get("source", ""))) for r in records)


def _last(events: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Value of `key` in the newest event that has it."""
    for record in reversed(events):
        if isinstance(record.get(key), dict):
            return dict(record[key])
    return {}


def _sample(record: Mapping[str, Any]) -> Sample:
    return Sample(record["step"], str(record.get("prompt", "")), str(record.get("text", "")))
