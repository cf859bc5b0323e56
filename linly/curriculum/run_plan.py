"""Report on a run before it starts: shares, rows, epochs, steps, world sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from linly.config.curriculum import Curriculum
from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.guard_plan import GuardPlan, guard_plans, raised_mixture
from linly.curriculum.learning_rate import LearningRate, rate_weighted_rows
from linly.curriculum.mixture import Mixture
from linly.curriculum.wording import amount, percent
from linly.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows per step over all ranks (`global_batch`), and per forward pass of one rank."""

    global_batch: int
    micro_batch: int


@dataclass(frozen=True, slots=True)
class Available:
    """Data of a source that is available for training.

    Attributes:
        tokens: Tokens of one epoch, without held-out documents.
        supervised_tokens: Tokens among them that carry loss.
        exact: Whether all tokens were counted; otherwise they are extrapolated from a sample.
        has_held_out: Whether any document is kept for evaluation.
        padding: Positions of an epoch's rows that one-document packing leaves empty.
        exclusions: Lines about the record lists of its corpus: how many records each leaves out.
    """

    tokens: int
    supervised_tokens: int
    exact: bool
    has_held_out: bool
    padding: int = 0
    exclusions: tuple[str, ...] = ()

    @property
    def positions(self) -> int:
        """Positions of an epoch's rows."""
        return self.tokens + self.padding


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """Plan of one source.

    Attributes:
        name: Name in the curriculum.
        group: Group of the source.
        shares: Share at each of the plan's positions.
        rows: Rows in the run; with guards, as long as none of them acts.
        most_rows: Rows with every guard at its cap throughout, for a source of a guarded group.
        tokens: Positions of these rows; with best-fit packing some of them are padding.
        token_share: Share of the planned tokens.
        lr_share: Share of the planned tokens, each weighted by the learning rate of its step; None
            for a curriculum without a recipe.
        max_epochs: Allowed number of epochs.
        on_exhausted: Action after `max_epochs`.
        available: Available data; None if it was not counted.
        epochs: `tokens` over available tokens (padding makes it a little high); None if not
            known, infinite if there are none.
        most_epochs: Epochs for `most_rows`.
        ends_at: Fraction of the run at which it runs out with `on_exhausted: stop`; else None.
    """

    name: str
    group: str
    shares: tuple[float, ...]
    rows: int
    most_rows: int
    tokens: int
    token_share: float
    lr_share: float | None
    max_epochs: float
    on_exhausted: Literal["error", "stop"]
    available: Available | None
    epochs: float | None
    most_epochs: float | None
    ends_at: float | None

    @property
    def is_exceeded(self) -> bool:
        """Whether the source is read more often than allowed."""
        return self.epochs is not None and self.epochs > self.max_epochs

    @property
    def is_exceeded_at_most(self) -> bool:
        """Whether it would be exceeded with every guard at its cap throughout."""
        return self.most_epochs is not None and self.most_epochs > self.max_epochs


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a run before it starts.

    Attributes:
        name: Name of the curriculum.
        tokens: Requested tokens.
        sequence_length: Positions of a row.
        num_rows: Rows that the curves run over: floor(tokens / sequence_length).
        positions: Fractions of the run at which shares are taken, ascending.
        sources: Plans of the sources, by group, then name.
        guards: Plans of the guards, by group.
        batch: Rows of a step; None for a curriculum without a recipe.
        first_step: Steps before the planned ones, which an annealing branch has taken already.
        num_steps: Whole steps after them; 0 without a batch.
        remainder_rows: Rows after the last whole step, which are not trained on.
        world_sizes: Numbers of ranks that the batch can be split among.
    """

    name: str
    tokens: int
    sequence_length: int
    num_rows: int
    positions: tuple[float, ...]
    sources: tuple[SourcePlan, ...]
    guards: tuple[GuardPlan, ...]
    batch: Batch | None
    first_step: int
    num_steps: int
    remainder_rows: int
    world_sizes: tuple[int, ...]

    @property
    def trained_rows(self) -> int:
        """Rows that are trained on: all except the remainder, and those outside a branch."""
        return self.num_steps * self.batch.global_batch if self.batch else self.num_rows

    @property
    def ends(self) -> tuple[float, float, float]:
        """Start, middle and end of the planned rows, as fractions of the curves."""
        if self.batch is None or not self.first_step:
            return _ends(0, self.num_rows, self.num_rows)
        first = self.first_step * self.batch.global_batch
        return _ends(first, first + self.trained_rows, self.num_rows)

    @property
    def position_names(self) -> tuple[str, ...]:
        """Names of the positions, for a table's heading."""
        names = dict(zip(self.ends, ("start", "middle", "end"), strict=True))
        return tuple(names.get(position, percent(position)) for position in self.positions)

    def notes(self) -> list[str]:
        """Facts about the plan that need no change: a round number of tokens rarely fills steps."""
        if not self.remainder_rows:
            return self.exclusions()
        assert not self.first_step, "a branch ends at a step"
        used = self.trained_rows * self.sequence_length
        return [
            f"the last {self.remainder_rows} rows do not fill a step and are not trained on; "
            f"tokens: {used} would leave none over",
            *self.exclusions(),
        ]

    def exclusions(self) -> list[str]:
        """Lines about the record lists of the corpora, each once."""
        found = [source.available.exclusions for source in self.sources if source.available]
        return list(dict.fromkeys(line for lines in found for line in lines))

    def warnings(self) -> list[str]:
        """Warnings about an allowed plan."""
        return [text for source in self.sources for text in _source_warnings(source)]


def make_plan(
    curriculum: Curriculum,
    *,
    sequence_length: int,
    batch: Batch | None = None,
    rate: LearningRate | None = None,
    first_step: int = 0,
    available: Mapping[str, Available] | None = None,
    extra_positions: Sequence[float] = (),
) -> Plan:
    """Plan a run; row counts are those of the schedule.

    Args:
        curriculum: Curriculum to plan.
        sequence_length: Positions of a row.
        batch: Batch of the recipe; without it all rows count and there are no steps.
        rate: Learning rate of the run, up to its last step; needs a batch.
        first_step: Steps before the planned ones.
        available: Available data by source, for the sources that were counted.
        extra_positions: Fractions of the run to report besides start, middle and end.

    Raises:
        ConfigError: If the ratios do not add up somewhere in the run, or it has no row.
    """
    num_rows = curriculum.tokens // sequence_length
    mixture = Mixture.from_curriculum(curriculum, num_rows=num_rows)
    first, last, num_steps = 0, num_rows, 0
    if batch is not None:
        last_step = rate.num_steps if rate else num_rows // batch.global_batch
        first, last = first_step * batch.global_batch, last_step * batch.global_batch
        num_steps = last_step - first_step
    ends = _ends(first, last if first_step else num_rows, num_rows)
    positions = tuple(sorted({*ends, *extra_positions}))
    shares = mixture.shares([position * num_rows for position in positions])
    raised = raised_mixture(curriculum, num_rows=num_rows)
    rows = _counts(mixture, first, last)
    most_rows = _counts(raised, first, last) if curriculum.guards else rows
    lr_shares: dict[str, float] = {}
    if rate is not None and batch is not None:
        weighted = rate_weighted_rows(
            mixture, rate, global_batch=batch.global_batch, first_step=first_step
        )
        lr_shares = dict(zip(mixture.sources, weighted.tolist(), strict=True))
    sources = tuple(
        _source_plan(
            curriculum,
            mixture,
            name,
            shares=tuple(shares[:, mixture.sources.index(name)].tolist()),
            rows=rows[name],
            most_rows=max(rows[name], most_rows[name]),
            token_share=_ratio(rows[name], last - first),
            lr_share=lr_shares.get(name),
            sequence_length=sequence_length,
            available=(available or {}).get(name),
        )
        for names in mixture.groups.values()
        for name in names
    )
    return Plan(
        name=curriculum.name,
        tokens=curriculum.tokens,
        sequence_length=sequence_length,
        num_rows=num_rows,
        positions=positions,
        sources=sources,
        guards=guard_plans(curriculum, mixture, raised, positions),
        batch=batch,
        first_step=first_step,
        num_steps=num_steps,
        remainder_rows=num_rows - last if batch and not _ends_early(rate, num_rows, batch) else 0,
        world_sizes=valid_world_sizes(batch) if batch else (),
    )


def _ends(first: int, last: int, num_rows: int) -> tuple[float, float, float]:
    """Start, middle and end of rows, as fractions of the curves."""
    return first / num_rows, (first + last) / 2 / num_rows, last / num_rows


def _counts(mixture: Mixture, first: int, last: int) -> dict[str, int]:
    """Rows of each source from a row up to another, of a phase that begins there."""
    phases = [Phase(0, mixture), Phase(first, mixture)] if first else [Phase(0, mixture)]
    made = Apportioner(phases, {}, first).advance(last - first)
    return {name: made.get(name, 0) for name in mixture.sources}


def _ends_early(rate: LearningRate | None, num_rows: int, batch: Batch) -> bool:
    """Whether the run ends before the last whole step of its curriculum."""
    return rate is not None and rate.num_steps < num_rows // batch.global_batch


def _source_plan(
    curriculum: Curriculum,
    mixture: Mixture,
    name: str,
    *,
    shares: tuple[float, ...],
    rows: int,
    most_rows: int,
    token_share: float,
    lr_share: float | None,
    sequence_length: int,
    available: Available | None,
) -> SourcePlan:
    """Plan one source."""
    group, settings = curriculum.sources[name]
    tokens = rows * sequence_length
    epochs = most_epochs = None
    if available is not None:
        epochs = _ratio(tokens, available.positions)
        most_epochs = _ratio(most_rows * sequence_length, available.positions)
    ends_at = None
    is_exceeded = epochs is not None and epochs > settings.max_epochs
    if available is not None and is_exceeded and settings.on_exhausted == "stop":
        limit = settings.max_epochs * available.positions / sequence_length
        ends_at = reaches(mixture, name, limit)
    return SourcePlan(
        name=name,
        group=group,
        shares=shares,
        rows=rows,
        most_rows=most_rows,
        tokens=tokens,
        token_share=token_share,
        lr_share=lr_share,
        max_epochs=settings.max_epochs,
        on_exhausted=settings.on_exhausted,
        available=available,
        epochs=epochs,
        most_epochs=most_epochs,
        ends_at=ends_at,
    )


def valid_world_sizes(batch: Batch) -> tuple[int, ...]:
    """Numbers of ranks W with global_batch divisible by W * micro_batch, ascending."""
    passes, left_over = divmod(batch.global_batch, batch.micro_batch)
    if left_over:
        return ()
    small = [size for size in range(1, math.isqrt(passes) + 1) if passes % size == 0]
    return tuple(sorted({*small, *(passes // size for size in small)}))


def check_plan(plan: Plan, curriculum: Curriculum) -> None:
    """Reject a plan that exceeds a source's `max_epochs`, or whose guards have nothing to watch.

    A source with `on_exhausted: stop` may run out, but not be empty. A source that only a guard at
    its cap would use up causes a warning: the guard may never act.

    Raises:
        ConfigError: If there is any such source or guard: one line per source with its epochs
            and the smallest change that helps, and one line per guard without held-out documents.
    """
    problems = [
        _refusal(plan, source, curriculum)
        for source in plan.sources
        if source.is_exceeded and (source.on_exhausted == "error" or math.isinf(source.epochs or 0))
    ]
    problems += [_blind(plan, guard) for guard in plan.guards if _is_blind(plan, guard)]
    if problems:
        raise ConfigError("\n".join(problems))


def _is_blind(plan: Plan, guard: GuardPlan) -> bool:
    """Whether all sources that a guard watches were counted, and none has held-out documents."""
    if guard.task is not None:
        return False
    watched = [source.available for source in plan.sources if source.name in guard.watched]
    return all(available is not None and not available.has_held_out for available in watched)


def _blind(plan: Plan, guard: GuardPlan) -> str:
    """Error text for a guard that has nothing to watch."""
    return (
        f"curriculum {plan.name}: mixture.{guard.group}.ratio.guard.source: no document of "
        f"{', '.join(guard.watched)} is held out, so there are no bits per byte to watch: set "
        "held_out in its corpus file, or watch another source"
    )


def _source_warnings(source: SourcePlan) -> list[str]:
    """Warnings about one source."""
    found: list[str] = []
    if source.rows == 0 and any(share > 0 for share in source.shares):
        found.append(
            f"source {source.name}: its share is too small for one row of this run: give it more, "
            "or take it out"
        )
    if source.ends_at is not None:
        found.append(
            f"source {source.name}: runs out after {source.max_epochs:g} epochs, and the run ends "
            f"there, at about {percent(source.ends_at)}"
        )
    if source.is_exceeded_at_most and not source.is_exceeded:
        assert source.most_epochs is not None
        found.append(
            f"source {source.name}: {source.most_epochs:.2f} epochs if its guard keeps group "
            f"{source.group} at its cap throughout, allowed: {source.max_epochs:g} (max_epochs); "
            "the run would end when they are used up"
        )
    if source.available is not None and not source.available.has_held_out:
        found.append(f"source {source.name}: no document is held out, so nothing evaluates it")
    return found


def _ratio(part: int, whole: int) -> float:
    """Ratio of part to whole; infinite for a positive part of an empty whole."""
    if whole:
        return part / whole
    return math.inf if part else 0.0


def reaches(mixture: Mixture, source: str, rows: float) -> float:
    """Fraction of the run, below 1, at which a source's integral reaches `rows`."""
    column = mixture.sources.index(source)
    low, high = 0, mixture.num_rows
    while low < high:
        middle = (low + high) // 2
        if mixture.integral([middle])[0, column] >= rows:
            high = middle
        else:
            low = middle + 1
    return low / mixture.num_rows


def _refusal(plan: Plan, source: SourcePlan, curriculum: Curriculum) -> str:
    """Error text for a source read too often, with the changes that would suffice."""
    assert source.available is not None and source.epochs is not None
    where = f"curriculum {plan.name}: source {source.name}"
    needs = f"{amount(source.tokens)} tokens planned, {amount(source.available.tokens)} available"
    if math.isinf(source.epochs):
        return (
            f"{where}: {needs}: check its corpus (paths, where, fields), or take it out of "
            f"mixture.{source.group}.sources"
        )
    changes = []
    fewer = _fewer_tokens(plan, source, curriculum)
    if fewer:
        changes.append(f"tokens: {amount(fewer)} instead of {amount(plan.tokens)}")
    factor = source.max_epochs / source.epochs
    group = curriculum.mixture[source.group]
    share = group.sources[source.name].share
    lower = math.floor(share * factor * 1e4) / 1e4
    key = f"mixture.{source.group}.sources.{source.name}"
    if len(group.sources) > 1:
        changes.append(f"{key}.share: {percent(lower)} instead of {percent(share)}")
    else:
        part = math.floor(factor * 1e3) / 1e3
        changes.append(f"mixture.{source.group}.ratio at most {percent(part)} of what it is")
    changes.append(f"{key}.max_epochs: {math.ceil(source.epochs * 10) / 10:g}")
    return (
        f"{where}: {source.epochs:.2f} epochs ({needs}), allowed: {source.max_epochs:g} "
        f"(max_epochs). Enough would be {', or '.join(changes)}, or on_exhausted: stop"
    )


def _fewer_tokens(plan: Plan, source: SourcePlan, curriculum: Curriculum) -> int:
    """Largest token count, to three digits, that respects a source's epochs; 0 if none does."""
    assert source.available is not None
    limit = source.max_epochs * source.available.positions
    is_within = partial(_stays_within, plan, source.name, curriculum, limit)
    low, high = plan.sequence_length, plan.tokens
    if not is_within(low):
        return 0
    while high - low > max(1, high // 4096):
        middle = (low + high) // 2
        low, high = (middle, high) if is_within(middle) else (low, middle)
    unit = int(10 ** max(0, len(str(low)) - 3))
    return low - low % unit


def _stays_within(
    plan: Plan, source: str, curriculum: Curriculum, limit: float, tokens: int
) -> bool:
    """Whether a run of this many tokens takes at most `limit` tokens of a source."""
    shorter = curriculum.model_copy(update={"tokens": tokens})
    num_rows = tokens // plan.sequence_length
    try:
        mixture = Mixture.from_curriculum(shorter, num_rows=num_rows)
    except ConfigError:  # points given in tokens move against those in %
        return False
    rows = float(mixture.integral([num_rows])[0, mixture.sources.index(source)])
    return (rows + 1.0) * plan.sequence_length <= limit
