"""Decisions of a curriculum's guards after an evaluation: raise, lower or keep a group's ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linly.config.curriculum import Curriculum
from linly.config.curve import RatioGuard
from linly.curriculum.timeline import Timeline
from linly.curriculum.wording import percent
from linly.records.evaluation_record import SourceEvaluation
from linly.records.measures import joint_bits_per_byte
from linly.records.task_record import LOWER_IS_BETTER, TaskEvaluation, TaskFigure, task_drop

Results = Mapping[str, SourceEvaluation]
"""Results of an evaluation by source."""
TaskResults = Mapping[str, TaskEvaluation]
"""Results of an evaluation by task."""


@dataclass(frozen=True, slots=True)
class GuardDecision:
    """Decision of one guard after an evaluation.

    Attributes:
        group: Group whose ratio is guarded.
        guard: Guard settings from the curriculum.
        before: Guard steps by which the ratio was raised before this evaluation.
        after: Guard steps by which it is raised after this evaluation.
        value: Bits per byte of the watched held-out text, or the watched figure of the task; None
            if it cannot be compared.
        baseline: The same before the first step; None likewise.
        figure: Key of the figure.
    """

    group: str
    guard: RatioGuard
    before: int
    after: int
    value: float | None
    baseline: float | None
    figure: TaskFigure = "bits_per_byte"

    @property
    def is_news(self) -> bool:
        """Whether to report it: the ratio moves, or the guard is at its limit or has no numbers."""
        is_blind = self.value is None
        return self.before != self.after or self.after == self.guard.steps or is_blind

    def to_json(self, *, step: int, row: int) -> dict[str, Any]:
        """Record for decisions.jsonl."""
        is_task = self.guard.task is not None
        return {
            "step": step,
            "kind": "guard",
            "row": row,
            "group": self.group,
            "task" if is_task else "source": self.guard.watched,
            "before": self.before,
            "after": self.after,
            **({"figure": self.figure} if is_task else {}),
            "value" if is_task else "bits_per_byte": self.value,
            "baseline": self.baseline,
        }

    def __str__(self) -> str:
        """`english raised to step 2 of 4 towards 60%: slimpajama is 4.1% above the start ...`."""
        guard = self.guard
        moved = {1: "raised to", 0: "left at", -1: "lowered to"}[
            (self.after > self.before) - (self.after < self.before)
        ]
        head = (
            f"{self.group} {moved} step {self.after} of {guard.steps} towards {percent(guard.cap)}"
        )
        figure = self.figure.replace("_", " ")
        if self.value is None or self.baseline is None:
            return f"{head}: {guard.watched} has no {figure} to compare"
        rise = self.value / self.baseline - 1
        sign = "" if guard.task is None else "-" if self.figure not in LOWER_IS_BETTER else "+"
        return (
            f"{head}: {guard.watched} at {self.value:.4f} {figure}, {rise:+.2%} since the start, "
            f"allowed {sign}{percent(guard.limit)}"
        )


def guard_decisions(
    curriculum: Curriculum,
    levels: Mapping[str, int],
    baseline: Results,
    latest: Results,
    *,
    tasks_before: TaskResults | None = None,
    tasks: TaskResults | None = None,
) -> list[GuardDecision]:
    """Decide for every guard, from values that are the same on all ranks.

    A group is raised by a step if the watched bits per byte are more than `max_rise` above the
    baseline, or the watched task is more than `max_drop` worse than before the first step. It is
    lowered by a step otherwise, and stays if there are no numbers to compare.

    Args:
        curriculum: Curriculum in force.
        levels: Guard step of each group before this evaluation; a missing group is at 0.
        baseline: Results before the first step.
        latest: Results to decide from.
        tasks_before: Results of the tasks before the first step.
        tasks: Results of the tasks; None if they were not evaluated, so that their guards do not
            decide.
    """
    decisions = []
    for group, guard in curriculum.guards.items():
        level = min(levels.get(group, 0), guard.steps)
        if guard.task is None:
            decisions.append(_decide(curriculum, group, level, baseline, latest))
        elif tasks is not None:
            before = (tasks_before or {}).get(guard.task)
            decisions.append(_decide_by_task(group, guard, level, before, tasks.get(guard.task)))
    return decisions


def _decide_by_task(
    group: str,
    guard: RatioGuard,
    level: int,
    before: TaskEvaluation | None,
    now: TaskEvaluation | None,
) -> GuardDecision:
    drop = task_drop(before, now)
    figure: TaskFigure = "accuracy" if now is None else now.watched
    if drop is None or before is None or now is None:
        return GuardDecision(group, guard, level, level, None, None, figure)
    after = _moved(level, guard, is_worse=drop > guard.limit)
    return GuardDecision(
        group, guard, level, after, now.watched_value, before.watched_value, figure
    )


def _moved(level: int, guard: RatioGuard, *, is_worse: bool) -> int:
    """The next level: a step up or down, between curve and cap."""
    return min(max(level + (1 if is_worse else -1), 0), guard.steps)


def _decide(
    curriculum: Curriculum, group: str, level: int, baseline: Results, latest: Results
) -> GuardDecision:
    guard = curriculum.guards[group]
    watched = [
        source
        for source in curriculum.guarded_sources(guard)
        if source in baseline and source in latest
    ]
    before = joint_bits_per_byte([baseline[source] for source in watched])
    now = joint_bits_per_byte([latest[source] for source in watched])
    if before is None or now is None:
        return GuardDecision(group, guard, level, level, None, None)
    after = _moved(level, guard, is_worse=now > before * (1 + guard.limit))
    return GuardDecision(group, guard, level, after, now, before)


def raised_groups(timeline: Timeline, *, row: int) -> list[str]:
    """Notices at a row, one for each group that is raised by its guard."""
    guards = timeline.curriculum.guards
    return [
        f"{group} is raised by its guard: step {level} of {guards[group].steps} towards "
        f"{percent(guards[group].cap)}"
        for group, level in timeline.levels_at(row).items()
        if level
    ]
