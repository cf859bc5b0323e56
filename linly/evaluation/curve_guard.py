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

Results = Mapping[str, SourceEvaluation]
"""Results of an evaluation by source."""


@dataclass(frozen=True, slots=True)
class GuardDecision:
    """Decision of one guard after an evaluation.

    Attributes:
        group: Group whose ratio is guarded.
        guard: Guard settings from the curriculum.
        before: Guard steps by which the ratio was raised before this evaluation.
        after: Guard steps by which it is raised after this evaluation.
        bits_per_byte: Bits per byte of the watched held-out text; None if it cannot be compared.
        baseline: Bits per byte of the same text before the first step; None likewise.
    """

    group: str
    guard: RatioGuard
    before: int
    after: int
    bits_per_byte: float | None
    baseline: float | None

    @property
    def is_news(self) -> bool:
        """Whether to report it: the ratio moves, or the guard is at its limit or has no numbers."""
        is_blind = self.bits_per_byte is None
        return self.before != self.after or self.after == self.guard.steps or is_blind

    def to_json(self, *, step: int, row: int) -> dict[str, Any]:
        """Record for decisions.jsonl."""
        return {
            "step": step,
            "kind": "guard",
            "row": row,
            "group": self.group,
            "source": self.guard.source,
            "before": self.before,
            "after": self.after,
            "bits_per_byte": self.bits_per_byte,
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
        if self.bits_per_byte is None or self.baseline is None:
            return f"{head}: {guard.source} has no bits per byte to compare"
        rise = self.bits_per_byte / self.baseline - 1
        return (
            f"{head}: {guard.source} at {self.bits_per_byte:.4f} bits per byte, {rise:+.2%} since "
            f"the start, allowed {percent(guard.max_rise)}"
        )


def guard_decisions(
    curriculum: Curriculum, levels: Mapping[str, int], baseline: Results, latest: Results
) -> list[GuardDecision]:
    """Decide for every guard, from values that are the same on all ranks.

    A group is raised by a step if the watched bits per byte are more than `max_rise` above the
    baseline, and lowered by a step otherwise. It stays if there are no numbers to compare.

    Args:
        curriculum: Curriculum in force.
        levels: Guard step of each group before this evaluation; a missing group is at 0.
        baseline: Results before the first step.
        latest: Results to decide from.
    """
    return [
        _decide(curriculum, group, min(levels.get(group, 0), guard.steps), baseline, latest)
        for group, guard in curriculum.guards.items()
    ]


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
    change = 1 if now > before * (1 + guard.max_rise) else -1
    after = min(max(level + change, 0), guard.steps)
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
