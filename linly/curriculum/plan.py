"""What a person wants to know before a run starts: shares, rows, epochs, steps, world sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from linly.config.curriculum import Curriculum
from linly.curriculum.apportion import Segment, row_counts
from linly.curriculum.guard_plan import GuardPlan, guard_plans, raised_mixture
from linly.curriculum.mixture import Mixture
from linly.curriculum.wording import amount, percent
from linly.errors import ConfigError

START_MIDDLE_END = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a step: over all ranks (`global_batch`), and in one pass of one rank."""

    global_batch: int
    micro_batch: int


@dataclass(frozen=True, slots=True)
class Available:
    """What a source has to train on.

    Attributes:
        tokens: In one epoch, without held-out documents.
        supervised_tokens: Those of them that carry loss.
        exact: Counted in full; else extended from a sample.
        has_held_out: Whether any document is kept for evaluation.
        padding: Positions of an epoch's rows that one-document packing leaves empty.
    """

    tokens: int
    supervised_tokens: int
    exact: bool
    has_held_out: bool
    padding: int = 0

    @property
    def positions(self) -> int:
        """Positions of an epoch's rows."""
        return self.tokens + self.padding


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One source of a plan.

    Attributes:
        name: In the curriculum.
        group: Its group.
        shares: At each of the plan's positions.
        rows: That it makes in the run; with guards, as long as none of them acts.
        most_rows: With every guard at its cap throughout, for a source of a guarded group.
        tokens: Positions of these rows; with best-fit packing some of them are padding.
        max_epochs: How often it may be read.
        on_exhausted: What happens beyond.
        available: What it has; None when not looked at.
        epochs: `tokens` over available tokens (padding makes it a little high); None when not
            known, infinite when there are none.
        most_epochs: Likewise for `most_rows`.
        ends_at: With `on_exhausted: stop`, where in the run it runs out, as a fraction; else None.
    """

    name: str
    group: str
    shares: tuple[float, ...]
    rows: int
    most_rows: int
    tokens: int
    max_epochs: float
    on_exhausted: Literal["error", "stop"]
    available: Available | None
    epochs: float | None
    most_epochs: float | None
    ends_at: float | None

    @property
    def is_exceeded(self) -> bool:
        """Whether it is read more often than allowed."""
        return self.epochs is not None and self.epochs > self.max_epochs

    @property
    def is_exceeded_at_most(self) -> bool:
        """Whether it would be, with every guard at its cap throughout."""
        return self.most_epochs is not None and self.most_epochs > self.max_epochs


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it starts.

    Attributes:
        name: The curriculum's.
        tokens: Asked for.
        sequence_length: Positions of a row.
        num_rows: floor(tokens / sequence_length); what the curves run over.
        positions: Where `shares` of the sources are taken, as fractions of the run, ascending.
        sources: By group, then name.
        guards: By group.
        batch: Rows of a step; None for a curriculum by itself.
        num_steps: Whole steps; 0 without a batch.
        remainder_rows: Rows after the last whole step, which are not trained on.
        world_sizes: Numbers of ranks that the batch can be dealt to.
    """

    name: str
    tokens: int
    sequence_length: int
    num_rows: int
    positions: tuple[float, ...]
    sources: tuple[SourcePlan, ...]
    guards: tuple[GuardPlan, ...]
    batch: Batch | None
    num_steps: int
    remainder_rows: int
    world_sizes: tuple[int, ...]

    @property
    def trained_rows(self) -> int:
        """Rows that are trained on: all but the remainder."""
        return self.num_rows - self.remainder_rows

    def warnings(self) -> list[str]:
        """What is allowed but should be known."""
        found: list[str] = []
        if self.remainder_rows:
            used = self.trained_rows * self.sequence_length
            found.append(
                f"the last {self.remainder_rows} rows do not fill a step and are not trained on; "
                f"tokens: {used} would leave none over"
            )
        for source in self.sources:
            found += _source_warnings(source)
        return found


def make_plan(
    curriculum: Curriculum,
    *,
    sequence_length: int,
    batch: Batch | None = None,
    available: Mapping[str, Available] | None = None,
    extra_positions: Sequence[float] = (),
) -> Plan:
    """Plan a run; the whole schedule is gone through, so rows are those that will be made.

    Args:
        curriculum: What to plan.
        sequence_length: Positions of a row.
        batch: Of the recipe; without it all rows count and there are no steps.
        available: By source, for those that were looked at.
        extra_positions: Fractions of the run to take shares at, beside start, middle and end.

    Raises:
        ConfigError: When the ratios do not add up somewhere in the run, or it has no row.
    """
    num_rows = curriculum.tokens // sequence_length
    mixture = Mixture.from_curriculum(curriculum, num_rows=num_rows)
    num_steps = num_rows // batch.global_batch if batch else 0
    remainder = num_rows % batch.global_batch if batch else 0
    positions = tuple(sorted({*START_MIDDLE_END, *extra_positions}))
    shares = mixture.shares([position * num_rows for position in positions])
    raised = raised_mixture(curriculum, num_rows=num_rows)
    rows = row_counts([Segment(0, mixture)], num_rows - remainder)
    most_rows = rows
    if curriculum.guards:
        most_rows = row_counts([Segment(0, raised)], num_rows - remainder)
    sources = tuple(
        _source_plan(
            curriculum,
            mixture,
            name,
            shares=tuple(shares[:, mixture.sources.index(name)].tolist()),
            rows=rows[name],
            most_rows=max(rows[name], most_rows[name]),
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
        num_steps=num_steps,
        remainder_rows=remainder,
        world_sizes=valid_world_sizes(batch) if batch else (),
    )


def _source_plan(
    curriculum: Curriculum,
    mixture: Mixture,
    name: str,
    *,
    shares: tuple[float, ...],
    rows: int,
    most_rows: int,
    sequence_length: int,
    available: Available | None,
) -> SourcePlan:
    """The plan of one source."""
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
    """Refuse a plan that reads a source more often than its `max_epochs`, or guards blindly.

    A source that says `on_exhausted: stop` may run out, but not be empty. What only a guard at its
    cap would use up is a warning: it may never act.

    Raises:
        ConfigError: One line for each such source: epochs, and the smallest change that helps; and
            for each guard whose sources have no held-out document.
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
    """Whether all sources that a guard watches were looked at, and none has held-out documents."""
    watched = [source.available for source in plan.sources if source.name in guard.watched]
    return all(available is not None and not available.has_held_out for available in watched)


def _blind(plan: Plan, guard: GuardPlan) -> str:
    """Say that a guard has nothing to look at."""
    return (
        f"curriculum {plan.name}: mixture.{guard.group}.ratio.guard.source: no document of "
        f"{', '.join(guard.watched)} is held out, so there are no bits per byte to watch: set "
        "held_out in its corpus file, or watch another source"
    )


def _source_warnings(source: SourcePlan) -> list[str]:
    """What should be known about one source."""
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
            f"source {source.name}: {source.most_epochs:.2f} epochs if its guard holds group "
            f"{source.group} at its cap throughout, allowed: {source.max_epochs:g} (max_epochs); "
            "the run would end where they are used up"
        )
    if source.available is not None and not source.available.has_held_out:
        found.append(f"source {source.name}: no document is held out, so nothing evaluates it")
    return found


def _ratio(part: int, whole: int) -> float:
    """How often the whole goes into the part; infinite where something is taken of nothing."""
    if whole:
        return part / whole
    return math.inf if part else 0.0


def reaches(mixture: Mixture, source: str, rows: float) -> float:
    """Where in the run a source's integral reaches `rows`, as a fraction; it does so before 1."""
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
    """Say how often a source would be read and what would be enough to change."""
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
    """The most tokens, to three digits, that keep a source within its epochs; 0 when none do."""
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
    """Whether a run of so many tokens takes at most `limit` tokens of a source."""
    shorter = curriculum.model_copy(update={"tokens": tokens})
    num_rows = tokens // plan.sequence_length
    try:
        mixture = Mixture.from_curriculum(shorter, num_rows=num_rows)
    except ConfigError:  # points given in tokens move against those in %
        return False
    rows = float(mixture.integral([num_rows])[0, mixture.sources.index(source)])
    return (rows + 1.0) * plan.sequence_length <= limit
