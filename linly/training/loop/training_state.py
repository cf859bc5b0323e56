"""State of a run that changes as it trains, besides the engine's and the loader's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from linly.curriculum.timeline import Decision, Timeline
from linly.records.evaluation_record import (
    AverageEvaluation,
    SourceEvaluation,
    average_form,
    parse_average,
    parse_sources,
    sources_form,
)
from linly.records.task_record import TaskEvaluation, parse_tasks, tasks_form
from linly.training.recording.guards import Guards
from linly.training.recording.run_counts import RunCounts


@dataclass(slots=True)
class TrainingState:
    """State of a run that changes as it trains, the same on all ranks.

    Attributes:
        timeline: Timeline by the decisions so far; restored from the decision log.
        guards: Guards of the steps.
        counts: Counts of rows and tokens.
        step: Number of steps taken.
        phase: Index of the training phase in force; 0 without phases.
        baseline: Evaluation before the first step, by source; empty before it.
        latest: Last evaluation, by source; empty before the first.
        latest_average: Evaluation of averaged weights at the same step; None if there are none.
        tasks_before: Results by task before the first step; empty without tasks.
        tasks: Last results by task; empty likewise.
        evaluated_step: Step of the last evaluation; None before the first.
    """

    timeline: Timeline
    guards: Guards
    counts: RunCounts
    step: int = 0
    phase: int = 0
    baseline: dict[str, SourceEvaluation] = field(default_factory=dict)
    latest: dict[str, SourceEvaluation] = field(default_factory=dict)
    latest_average: AverageEvaluation | None = None
    tasks_before: dict[str, TaskEvaluation] = field(default_factory=dict)
    tasks: dict[str, TaskEvaluation] = field(default_factory=dict)
    evaluated_step: int | None = None

    @property
    def is_evaluated(self) -> bool:
        """Whether the model has been evaluated at this step."""
        return self.evaluated_step == self.step

    def add_evaluation(
        self, results: dict[str, SourceEvaluation], average: AverageEvaluation | None = None
    ) -> None:
        """Set the results of an evaluation at this step, and those of averaged weights, if any."""
        self.latest, self.latest_average, self.evaluated_step = results, average, self.step
        if self.step == 0:
            self.baseline = results

    def add_tasks(self, results: dict[str, TaskEvaluation]) -> None:
        """Set the results of the tasks at this step."""
        self.tasks = results
        if self.step == 0:
            self.tasks_before = results

    def decide(self, line: Decision) -> None:
        """Apply a decision about the rows after this step."""
        self.timeline = self.timeline.with_decision(line)

    def state_dict(self) -> dict[str, Any]:
        """The state in the JSON form of a checkpoint."""
        return {
            "step": self.step,
            "phase": self.phase,
            "guards": self.guards.state_dict(),
            "books": self.counts.state_dict(),
            "baseline": sources_form(self.baseline),
            "latest": sources_form(self.latest),
            "latest_average": average_form(self.latest_average),
            "tasks_before": tasks_form(self.tasks_before),
            "tasks": tasks_form(self.tasks),
            "evaluated_step": self.evaluated_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a checkpoint's state."""
        self.step = state["step"]
        self.phase = state.get("phase", 0)
        self.guards.load_state_dict(state["guards"])
        self.counts.load_state_dict(state["books"])
        self.baseline = parse_sources(state["baseline"])
        self.latest = parse_sources(state["latest"])
        self.latest_average = parse_average(state)
        self.tasks_before = parse_tasks(state.get("tasks_before", {}))
        self.tasks = parse_tasks(state.get("tasks", {}))
        self.evaluated_step = state["evaluated_step"]
