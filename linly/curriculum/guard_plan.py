"""Possible effect of guards on a plan: each group's band between its curve and its cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linly.config.curriculum import Curriculum
from linly.curriculum.mixture import Mixture


@dataclass(frozen=True, slots=True)
class GuardPlan:
    """A guarded group of a plan.

    Attributes:
        group: Group whose ratio is raised.
        rest: Group that the added ratio is taken from.
        source: Watched source or sources, as written in the curriculum.
        watched: Sources whose held-out bits are compared.
        max_rise: Allowed rise over the evaluation before the first step, as a fraction of it.
        cap: Highest ratio that the group is raised to.
        steps: Number of steps from the curve to the cap.
        ratios: Ratio of the curve at each of the plan's positions.
        raised_ratios: Ratio at each position with every step taken.
    """

    group: str
    rest: str
    source: str
    watched: tuple[str, ...]
    max_rise: float
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
            cap=guard.cap,
            steps=guard.steps,
            ratios=group_ratios(plain, group, positions),
            raised_ratios=group_ratios(raised, group, positions),
        )
        for group, guard in curriculum.guards.items()
    )


def num_decisions(num_steps: int, *, evaluate_every: int) -> int:
    """Number of guard decisions in a run: one per evaluation before the last step."""
    return max(0, num_steps - 1) // evaluate_every


def idle_warning(curriculum: Curriculum, *, num_steps: int, evaluate_every: int) -> str | None:
    """Warning about guards that never decide in a run; None if they do, or there are none."""
    if not curriculum.guards or num_decisions(num_steps, evaluate_every=evaluate_every):
        return None
    return (
        f"guards of {', '.join(curriculum.guards)}: never act in this run: they decide at the "
        f"evaluations before its last step, and evaluation.every is {evaluate_every:,} of "
        f"{num_steps:,} steps: evaluate more often, or take the guards out"
    )


def group_ratios(mixture: Mixture, group: str, positions: Sequence[float]) -> tuple[float, ...]:
    """Sum of the shares of a group's sources, at fractions of the run."""
    columns = [mixture.sources.index(name) for name in mixture.groups[group]]
    shares = mixture.shares([position * mixture.num_rows for position in positions])
    return tuple(shares[:, columns].sum(axis=1).tolist())
