"""The learning rate in a plan: totals of groups, and a note on groups that a schedule shortchanges.

A decay over the whole run weighs early rows most. A group whose ratio rises while the rate falls
then moves the weights by less than its share of the tokens (arXiv 2511.18903).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linly.config.recipe import Recipe
from linly.config.yaml.run_position import Position
from linly.curriculum.learning_rate import LearningRate, rate_weighted_rows
from linly.curriculum.mixture import Mixture
from linly.curriculum.run_plan import Plan

LOW = 0.85
"""Learning-rate-weighted share over token share below which a plan has a note."""

_FLATTER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("wsd with decay: 10%", {"schedule": "wsd", "decay": Position(0.1, "fraction")}),
    ("constant", {"schedule": "constant"}),
)
"""Schedules to propose, the one to prefer first."""


@dataclass(frozen=True, slots=True)
class GroupTotal:
    """Totals of a group's sources in a plan.

    Attributes:
        name: Name of the group.
        shares: Share at each of the plan's positions.
        rows: Rows in the run.
        tokens: Positions of these rows.
        token_share: Share of the planned tokens.
        lr_share: Share of the planned tokens, weighted by the learning rate; None without a recipe.
    """

    name: str
    num_sources: int
    shares: tuple[float, ...]
    rows: int
    tokens: int
    token_share: float
    lr_share: float | None

    @property
    def is_low(self) -> bool:
        """Whether the learning rate gives it clearly less than its share of the tokens."""
        return self.lr_share is not None and self.lr_share < LOW * self.token_share


def group_totals(plan: Plan) -> tuple[GroupTotal, ...]:
    """Totals of each group, in the plan's order."""
    totals = []
    for name in dict.fromkeys(source.group for source in plan.sources):
        sources = [source for source in plan.sources if source.group == name]
        by_rate = [source.lr_share for source in sources if source.lr_share is not None]
        totals.append(
            GroupTotal(
                name,
                len(sources),
                tuple(map(sum, zip(*(source.shares for source in sources), strict=True))),
                rows=sum(source.rows for source in sources),
                tokens=sum(source.tokens for source in sources),
                token_share=sum(source.token_share for source in sources),
                lr_share=sum(by_rate) if by_rate else None,
            )
        )
    return tuple(totals)


def rate_notes(plan: Plan, recipe: Recipe) -> list[str]:
    """Note on the groups that the learning rate gives too little, and the schedule that mends it.

    All sources of a group have the same ratio of the two shares, so groups are named.
    An annealing branch is meant to decay, and has no note.
    """
    if recipe.training.annealing is not None:
        return []
    low = [total for total in group_totals(plan) if total.is_low]
    if not low:
        return []
    found = ", ".join(
        f"{total.name} {total.token_share:.1%} -> {total.lr_share:.1%}" for total in low
    )
    text = (
        f"the learning rate is low where these groups are large; share of the tokens -> weighted "
        f"by the learning rate: {found}"
    )
    return [text + _advice(plan, recipe, low)]


def _advice(plan: Plan, recipe: Recipe, low: Sequence[GroupTotal]) -> str:
    """Words on the first flatter schedule with which every group has enough."""
    for words, changes in _FLATTER:
        shares = _group_shares(recipe, changes)
        if all(shares[total.name] >= LOW * total.token_share for total in low):
            then = ", ".join(f"{total.name} {shares[total.name]:.1%}" for total in low)
            return f". With training.schedule: {words} it would be {then} (docs/schedules.md)"
    return ". No schedule mends it: they are large only within the warmup"


def _group_shares(recipe: Recipe, changes: dict[str, Any]) -> dict[str, float]:
    """Learning-rate-weighted share of each group with another schedule."""
    rate = LearningRate.from_settings(
        recipe.training.model_copy(update=changes),
        num_steps=recipe.curriculum_steps,
        step_tokens=recipe.step_tokens,
    )
    mixture = Mixture.from_curriculum(recipe.curriculum, num_rows=recipe.num_rows)
    weighted = rate_weighted_rows(mixture, rate, global_batch=recipe.data.global_batch)
    by_source = dict(zip(mixture.sources, weighted.tolist(), strict=True))
    return {
        group: sum(by_source[name] for name in names) for group, names in mixture.groups.items()
    }


def branch_note(plan: Plan) -> list[str]:
    """Note on a plan of an annealing branch."""
    if not plan.first_step:
        return []
    first, last = plan.first_step + 1, plan.first_step + plan.num_steps
    return [
        f"an annealing branch: rows, shares and epochs are those of its own steps {first:,} to "
        f"{last:,} only"
    ]
