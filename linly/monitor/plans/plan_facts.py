"""Data for a picture of a plan: shares along the run, and the tokens needed of each source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linly.config.curriculum import Curriculum
from linly.config.recipe import Recipe
from linly.config.sections.languages import Languages
from linly.config.sections.phases_setting import describe_phases
from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.shapes import Floats
from linly.config.source import languages_of
from linly.curriculum.guard_plan import group_ratios, raised_mixture
from linly.curriculum.learning_rate import LearningRate
from linly.curriculum.mixture import Mixture
from linly.curriculum.rate_plan import GroupTotal, branch_note, group_totals, rate_notes
from linly.curriculum.run_plan import Plan, reaches
from linly.modeling.parameters import ParameterCount

_NUM_POINTS = 1001
_MAX_REPEATS = 50


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One source of a plan.

    Attributes:
        name: Name in the curriculum.
        tokens: Tokens of it in the run.
        available: Tokens that it has in one epoch; None if the data was not read.
        epochs: Number of epochs in the run; None if the data was not read.
        loss_share: Its share of the tokens that carry loss; None if any source's is unknown.
        lr_share: Its share of the tokens, weighted by the learning rate; None without a recipe.
        repeats: Tokens of the run at which it repeats.
    """

    name: str
    tokens: int
    available: int | None
    epochs: float | None
    loss_share: float | None
    lr_share: float | None
    repeats: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a run; None for a cost whose inputs are unknown."""

    parameters: ParameterCount | None = None
    checkpoint_bytes: int | None = None
    kept_checkpoints: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A plan, ready to draw.

    Attributes:
        name: Name of the curriculum.
        groups: Sources of each group, in the order of the stack, from below.
        languages: Language of each source; empty without a recipe, which names the corpora.
        run_languages: Languages that the run keeps and learns.
        tokens: Tokens since the start, float64 [n].
        lr: Learning rate there, float64 [n]; None without a recipe.
        shares: Planned share of each source, float64 [n].
        raised: The edge of each guarded group's band in the stack, where the guard is at its cap,
            float64 [n].
        sources: Sources by group, then name.
        totals: Totals of the groups.
        num_steps: Number of steps; 0 without a recipe.
        notes: Facts that need no change.
        rate_notes: Notes on the learning rate.
        warnings: Warnings, each with the smallest change that helps.
    """

    name: str
    groups: Mapping[str, Sequence[str]]
    languages: Mapping[str, str]
    run_languages: Languages
    tokens: Floats
    lr: Floats | None
    shares: Mapping[str, Floats]
    raised: Mapping[str, Floats]
    sources: tuple[SourceFacts, ...]
    totals: tuple[GroupTotal, ...]
    num_steps: int
    costs: Costs
    notes: tuple[str, ...]
    rate_notes: tuple[str, ...]
    warnings: tuple[str, ...]


def plan_facts(
    curriculum: Curriculum,
    plan: Plan,
    costs: Costs,
    *,
    recipe: Recipe | None,
    problems: Sequence[str] = (),
) -> PlanFacts:
    """Gather the facts of a plan.

    Args:
        curriculum: The planned curriculum.
        plan: Its plan.
        costs: Costs as far as known.
        recipe: Recipe of the plan, which knows languages; None if only a curriculum is planned.
        problems: Problems that make the plan fail, shown as warnings.
    """
    mixture = Mixture.from_curriculum(curriculum, num_rows=plan.num_rows)
    start, _, end = plan.ends
    u = np.linspace(start, end, _NUM_POINTS)
    shares = mixture.shares(u * mixture.num_rows)
    shares_of = {source: share for source, (_, share) in curriculum.sources.items()}
    return PlanFacts(
        name=plan.name,
        groups=mixture.groups,
        languages=languages_of(shares_of, recipe.corpora) if recipe else {},
        run_languages=recipe.languages if recipe else Languages(),
        tokens=u * plan.tokens,
        lr=None if recipe is None else _rates(recipe, u * plan.num_rows),
        shares={source: shares[:, index] for index, source in enumerate(mixture.sources)},
        raised=_raised_edges(curriculum, plan, u),
        sources=_source_facts(mixture, plan),
        totals=group_totals(plan),
        num_steps=plan.num_steps,
        costs=costs,
        notes=(*plan.notes(), *branch_note(plan), *phase_notes(recipe)),
        rate_notes=tuple(rate_notes(plan, recipe)) if recipe else (),
        warnings=(*problems, *plan.warnings()),
    )


def phase_notes(recipe: Recipe | None) -> list[str]:
    """A note on each training phase."""
    if recipe is None:
        return []
    lines = describe_phases(recipe.training.phases, recipe.phase_ends)
    return [f"training phase {number}: {line}" for number, line in enumerate(lines, 1)]


def _rates(recipe: Recipe, rows: Floats) -> Floats:
    """Learning rate at some rows of a run, that of the first step at its start: float64 [n]."""
    rate = LearningRate.from_recipe(recipe)
    steps = np.maximum(1.0, rows / recipe.data.global_batch)
    return np.array([rate.at(step) for step in steps.tolist()])


def _raised_edges(curriculum: Curriculum, plan: Plan, u: Floats) -> dict[str, Floats]:
    """Inner edge of each guarded group's band, in the stack of the raised mixture: float64 [n].

    The guard adds the area between this edge and the planned one. NaN where it adds nothing.
    """
    mixture = raised_mixture(curriculum, num_rows=plan.num_rows)
    bands = {group: np.array(group_ratios(mixture, group, u.tolist())) for group in mixture.groups}
    plain = Mixture.from_curriculum(curriculum, num_rows=plan.num_rows)
    edges: dict[str, Floats] = {}
    for guard in plan.guards:
        # The groups of the stack are sorted by name.
        below = [ratio for group, ratio in bands.items() if group < guard.group]
        bottom = np.sum([np.zeros_like(u), *below], axis=0)
        edge = bottom if guard.rest < guard.group else bottom + bands[guard.group]
        planned = np.array(group_ratios(plain, guard.group, u.tolist()))
        edges[guard.group] = np.where(bands[guard.group] > planned + 1e-9, edge, np.nan)
    return edges


def _source_facts(mixture: Mixture, plan: Plan) -> tuple[SourceFacts, ...]:
    supervised: dict[str, float] = {}
    for source in plan.sources:
        if source.available is not None and source.available.tokens:
            part = source.available.supervised_tokens / source.available.tokens
            supervised[source.name] = source.tokens * part
    is_known = len(supervised) == len(plan.sources)
    total = sum(supervised.values())
    return tuple(
        SourceFacts(
            name=source.name,
            tokens=source.tokens,
            available=None if source.available is None else source.available.tokens,
            epochs=source.epochs,
            loss_share=supervised[source.name] / total if is_known and total else None,
            lr_share=source.lr_share,
            repeats=_repeats(mixture, plan, source.name, source.epochs),
        )
        for source in plan.sources
    )


def _repeats(mixture: Mixture, plan: Plan, name: str, epochs: float | None) -> tuple[float, ...]:
    """Tokens of the run at which a source has been read once, twice, ...; none for a branch."""
    if not epochs or math.isinf(epochs) or plan.first_step:
        return ()
    rows_per_epoch = next(s.rows for s in plan.sources if s.name == name) / epochs
    number = min(_MAX_REPEATS, math.ceil(epochs) - 1)
    return tuple(
        reaches(mixture, name, rows_per_epoch * epoch) * plan.tokens
        for epoch in range(1, number + 1)
    )


def kept_checkpoints(settings: CheckpointSettings, num_steps: int) -> int:
    """Checkpoints in the run folder at the end, plus one while it is written."""
    whole, rest = divmod(num_steps, settings.every)
    total = whole + bool(rest)
    newest = min(settings.keep_last, total)
    old = total - newest
    multiples = old * settings.every // settings.keep_every if settings.keep_every else 0
    return newest + min(multiples, old) + 1
