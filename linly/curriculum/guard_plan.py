"""Possible effect of guards on a plan: each group's band between its curve and its cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linly.config.curriculum import Curriculum
from linly.config.curve import RatioGuard
from linly.config.sections.evaluation_section import EvaluationSettings
from linly.curriculum.mixture import Mixture


@dataclass(frozen=True, slots=True)
class GuardPlan:
    """A guarded group of a plan.

    Attributes:
        group: Group whose ratio is raised.
        rest: Group that the added ratio is taken from.
        source: Watched source or sources, as written in the curriculum; None for a task.
        watched: Sources whose held-out bits are compared; none for a task.
        max_rise: Allowed rise over the evaluation before the first step, as a fraction of it.
        task: Watched task; None for sources.
        max_drop: Allowed loss since the evaluation before the first step, as a fraction of it.
        cap: Highest ratio that the group is raised to.
        steps: Number of steps from the curve to the cap.
        ratios: Ratio of the curve at each of the plan's positions.
        raised_ratios: Ratio at each position with every step taken.
    """

    group: str
    rest: str
    source: str | None
    watched: tuple[str, ...]
    max_rise: float | None
    task: str | None
    max_drop: float | None
    cap: float
    steps: int
    ratios: tuple[float, ...]
    raised_ratios: tuple[float, ...]


def raised_mixture(curriculum: Curriculum, *, num_rows: int) -> Mixture:
    """The mixture with every guard at its cap throughout: the upper bound for guarded groups.

    Raises:
        ConfigError: If `Mixture.from_curriculum` raises it.
    """
    levels = {group: guard.steps for group, guard in curriculum.guards.items()}
    return Mixture.from_curriculum(curriculum, num_rows=num_rows, levels=levels)


def guard_plans(
    curriculum: Curriculum, plain: Mixture, raised: Mixture, positions: Sequence[float]
) -> tuple[GuardPlan, ...]:
    """Plan of each guard of a curriculum, by group.

    Args:
        curriculum: Curriculum with the guards.
        plain: Its mixture.
        raised: Its mixture with every guard at its cap.
        positions: Fractions of the run at which ratios are taken.
    """
    rest = next((name for name, group in curriculum.mixture.items() if group.ratio is None), "")
    return tuple(
        GuardPlan(
            group=group,
            rest=rest,
            source=guard.source,
            watched=curriculum.guarded_sources(guard),
            max_rise=guard.max_rise,
            task=guard.task,
            max_drop=guard.max_drop,
            cap=guard.cap,
            steps=guard.steps,
            ratios=group_ratios(plain, group, positions),
            raised_ratios=group_ratios(raised, group, positions),
        )
        for group, guard in curriculum.guards.items()
    )


def interval_of(guard: RatioGuard, evaluation: EvaluationSettings) -> int:
    """Steps between the evaluations at which a guard decides."""
    return evaluation.every if guard.task is None else evaluation.task_interval


def num_decisions(num_steps: int, *, evaluate_every: int) -> int:
    """Number of guard decisions in a run: one per evaluation before the last step."""
    return max(0, num_steps - 1) // evaluate_every


def decisions_of(
    curriculum: Curriculum, evaluation: EvaluationSettings, *, num_steps: int
) -> dict[str, int]:
    """Number of decisions of each group's guard in a run."""
    return {
        group: num_decisions(num_steps, evaluate_every=interval_of(guard, evaluation))
        for group, guard in curriculum.guards.items()
    }


def idle_warning(
    curriculum: Curriculum, evaluation: EvaluationSettings, *, num_steps: int
) -> str | None:
    """Warning about guards that never decide in a run; None if all do, or there are none."""
    numbers = decisions_of(curriculum, evaluation, num_steps=num_steps)
    idle = [group for group, number in numbers.items() if not number]
    if not idle:
        return None
    intervals = {interval_of(curriculum.guards[group], evaluation) for group in idle}
    return (
        f"guards of {', '.join(idle)}: never act in this run: they decide at the "
        f"evaluations before its last step, and evaluation.every is {min(intervals):,} of "
        f"{num_steps:,} steps: evaluate more often, or take the guards out"
    )


def group_ratios(mixture: Mixture, group: str, positions: Sequence[float]) -> tuple[float, ...]:
    """Sum of the shares of a group's sources, at fractions of the run."""
    columns = [mixture.sources.index(name) for name in mixture.groups[group]]
    shares = mixture.shares([position * mixture.num_rows for position in positions])
    return tuple(shares[:, columns].sum(axis=1).tolist())
