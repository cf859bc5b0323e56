"""The timeline of a run: its mixtures, each a phase from its first row, by the decision log.

`decisions.jsonl` is the only source of a run's phases. Each line is written while the run is at
its `step`, with `row` the next row, and contains everything that it changes::

    {"step": 0,  "kind": "start",  "row": 0, "sequence_length": ..., "curriculum": {...},
                 "corpora": {...}}
    {"step": 20, "kind": "guard",  "row": 160, "group": "english", "before": 0, "after": 1, ...}
    {"step": 40, "kind": "resume", "evaluated_step": 40, "changes": [...], "set_aside": [...]}
    {"step": 40, "kind": "amend",  "row": 320, "curriculum": {...}, "corpora": {...},
                 "relisted": {source: {"from_epoch": ..., "file": ..., "sha256": ...}}}
    {"step": 40, "kind": "fork",   "run": ..., "skip_steps": [[41, 45], ...],
                 "annealing": {"from_step": 40, "tokens": ..., "end_row": ...} or absent}

A run may resume from an earlier checkpoint, and the log is never truncated. So a line at some step
voids every earlier line of a later step (`decisions_in_force`). A resume also voids the guards'
decisions from evaluations that the checkpoint does not contain: they are taken again.

To add a kind of decision:

1. Append its line when the run is at `step`, before the first row that it affects:
   `run.append_decision({"step": ..., "kind": "mine", "row": ..., ...})`. The line holds if the run
   resumes from a checkpoint of this step or a later one, and is voided otherwise.
2. Add a function `(Timeline, line) -> Timeline` to `_FOLDS`, and its values to `Timeline`. If it
   changes the mixture, return `timeline.with_mixture(row, mixture)`: the phase's counts and
   integrals begin at that row, and it replaces a phase that begins there already. If it does not
   change rows, use `_no_change`.

The stream, the counts and the monitor take the plan from `fold`, so they need no change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from linly.config.corpus import Corpus
from linly.config.curriculum import Curriculum, SourceShare
from linly.config.recipe import Recipe
from linly.config.sections.schedule_setting import Annealing
from linly.curriculum.apportion import Phase
from linly.curriculum.mixture import Mixture
from linly.errors import CheckpointError, ConfigError

Decision = Mapping[str, Any]
"""A line of decisions.jsonl."""


@dataclass(frozen=True, slots=True)
class Relisted:
    """A source's shards listed again during the run, in force from one of its epochs on.

    Attributes:
        from_epoch: First epoch that the source had not begun when the list was made.
        file: File name in the run's folder of shard lists.
        sha256: Hash of the file.
    """

    from_epoch: int
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Mixtures of a run over its rows, by the decisions so far.

    Attributes:
        sequence_length: Row length in tokens.
        curricula: All curricula that have been in force, oldest first; the last one is in force.
        corpora: Corpora that any of them uses, by name.
        relisted: Source -> lists of its shards made during the run, by ascending epoch.
        phases: Mixtures, each from its first row.
        levels: Guard steps by which each group is raised, from a row on.
        skipped_steps: (first, last) steps to skip: their rows are consumed but not trained on.
        annealing: Decay that ends an annealing branch.
        annealing_end: Number of rows after which the branch ends.
    """

    sequence_length: int
    curricula: tuple[Curriculum, ...]
    corpora: Mapping[str, Corpus]
    relisted: Mapping[str, tuple[Relisted, ...]] = field(default_factory=dict)
    phases: tuple[Phase, ...] = field(default=(), compare=False)  # derived from the rest
    levels: tuple[tuple[int, Mapping[str, int]], ...] = field(default=())
    skipped_steps: tuple[tuple[int, int], ...] = field(default=())
    annealing: Annealing | None = None
    annealing_end: int | None = None

    @property
    def curriculum(self) -> Curriculum:
        """Curriculum in force."""
        return self.curricula[-1]

    @property
    def num_rows(self) -> int:
        """Rows of the curriculum, over which its curves run."""
        return self.curriculum.tokens // self.sequence_length

    @property
    def end_row(self) -> int:
        """Rows of the run: an annealing branch ends before its curriculum."""
        return min(self.num_rows, self.annealing_end or self.num_rows)

    @property
    def end_tokens(self) -> int:
        """Tokens of the run."""
        is_branch = self.end_row < self.num_rows
        return self.end_row * self.sequence_length if is_branch else self.curriculum.tokens

    @property
    def sources(self) -> dict[str, SourceShare]:
        """Every source that has ever had a share, as in the newest curriculum that names it."""
        return {
            name: share
            for curriculum in self.curricula
            for name, (_, share) in curriculum.sources.items()
        }

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Sources of each group; a removed source stays in its last group."""
        group_of = {
            name: group
            for curriculum in self.curricula
            for name, (group, _) in curriculum.sources.items()
        }
        return {
            group: tuple(sorted(name for name in group_of if group_of[name] == group))
            for group in sorted(set(group_of.values()))
        }

    def is_skipped(self, step: int) -> bool:
        """Whether the rows of a step are consumed but not trained on."""
        return any(first <= step <= last for first, last in self.skipped_steps)

    def phase_at(self, row: int) -> Phase:
        """Phase that contains a row."""
        return next(phase for phase in reversed(self.phases) if phase.from_row <= row)

    def levels_at(self, row: int) -> Mapping[str, int]:
        """Guard levels in force at a row; a missing group is at 0."""
        return next((levels for start, levels in reversed(self.levels) if start <= row), {})

    def with_decision(self, line: Decision) -> Timeline:
        """The timeline after one more decision."""
        return _FOLDS[line["kind"]](self, line)

    def with_curriculum(self, row: int, curriculum: Curriculum) -> Timeline:
        """The timeline with another curriculum from `row` on.

        A group that still has a guard keeps its level.

        Raises:
            ConfigError: If its ratios do not add up, or it has no row.
        """
        amended = replace(self, curricula=(*self.curricula, curriculum))
        before = self.levels_at(row)
        kept = {
            group: min(before.get(group, 0), guard.steps)
            for group, guard in curriculum.guards.items()
        }
        return amended.with_levels(row, kept)

    def with_levels(self, row: int, levels: Mapping[str, int]) -> Timeline:
        """The timeline with guarded groups at these levels from `row` on."""
        mixture = Mixture.from_curriculum(self.curriculum, num_rows=self.num_rows, levels=levels)
        kept = tuple(entry for entry in self.levels if entry[0] < row)
        return replace(self.with_mixture(row, mixture), levels=(*kept, (row, levels)))

    def with_mixture(self, row: int, mixture: Mixture) -> Timeline:
        """The timeline with another mixture from `row` on; replaces a phase that begins there."""
        kept = tuple(phase for phase in self.phases if phase.from_row < row)
        return replace(self, phases=(*kept, Phase(row, mixture)))


def fold(decisions: Iterable[Decision], *, step: int | None = None) -> Timeline:
    """Compute the timeline of a run.

    Args:
        decisions: Lines of its decisions.jsonl.
        step: Step at which to compute it; None is the newest.

    Raises:
        CheckpointError: If the log is damaged, or has an unknown kind of decision.
    """
    lines = decisions_in_force(decisions, step=step)
    if not lines or lines[0].get("kind") != "start":
        raise CheckpointError(
            "decisions.jsonl has no 'start' line, so the schedule cannot be reconstructed; "
            "restore the file from a backup, or start a new run with run=PATH"
        )
    try:
        timeline = _started(lines[0])
        for line in lines[1:]:
            timeline = timeline.with_decision(line)
    except (
        *(KeyError, TypeError, ValueError, AttributeError, OverflowError),
        *(ValidationError, ConfigError),
    ) as error:
        raise CheckpointError(
            f"decisions.jsonl: a line cannot be read: {error!r}; a later version of linly may have "
            f"written it (kinds known here: {', '.join(sorted(_FOLDS))}): use that version, or "
            "restore the file from a backup"
        ) from error
    return timeline


def _voids(line: Decision, earlier: Decision) -> bool:
    """Whether a line voids an earlier one."""
    if line.get("kind") == "resume" and earlier.get("kind") == "guard":
        return bool(earlier["step"] > (line["evaluated_step"] or 0))
    return bool(earlier["step"] > line["step"])


def decisions_in_force(decisions: Iterable[Decision], *, step: int | None = None) -> list[Decision]:
    """Decisions that are still in force, in the order taken.

    Args:
        decisions: All decisions of the log.
        step: Step from which the run resumes, voiding later decisions; None is the newest.
    """
    kept: list[Decision] = []
    for line in decisions:
        if line.get("kind") == "start":
            kept = []
        kept = [earlier for earlier in kept if not _voids(line, earlier)]
        kept.append(line)
    return [line for line in kept if step is None or line["step"] <= step]


def lost_amendments(decisions: Iterable[Decision], step: int) -> list[int]:
    """Steps of the amendments in force that a resume from `step` would undo."""
    standing_now = decisions_in_force(decisions)
    return [
        line["step"] for line in standing_now if line["kind"] == "amend" and line["step"] > step
    ]


def start_decision(recipe: Recipe) -> dict[str, Any]:
    """First line of a run's log; the writer adds its time."""
    return {
        "step": 0,
        "kind": "start",
        "row": 0,
        "sequence_length": recipe.data.sequence_length,
        **curriculum_form(recipe.curriculum, recipe.corpora),
    }


def resume_decision(step: int, *, evaluated_step: int | None) -> dict[str, Any]:
    """Line of a resume from a checkpoint.

    Args:
        step: Step of the checkpoint.
        evaluated_step: Step of the last evaluation that it contains; None if there is none.
    """
    return {"step": step, "kind": "resume", "evaluated_step": evaluated_step}


def curriculum_form(curriculum: Curriculum, corpora: Mapping[str, Corpus]) -> dict[str, Any]:
    """A curriculum and the corpora that it uses, in the form of a log line."""
    used = sorted({share.corpus for _, share in curriculum.sources.values()})
    return {
        "curriculum": curriculum.file_form(),
        "corpora": {name: corpora[name].file_form() for name in used},
    }


def _started(line: Decision) -> Timeline:
    curriculum = Curriculum.model_validate(line["curriculum"])
    blank = Timeline(line["sequence_length"], (), _corpora(line))
    return blank.with_curriculum(line["row"], curriculum)


def _amended(timeline: Timeline, line: Decision) -> Timeline:
    curriculum = Curriculum.model_validate(line["curriculum"])
    relisted = dict(timeline.relisted)
    for source, values in line["relisted"].items():
        found = Relisted(**values)
        earlier = relisted.get(source, ())
        kept = tuple(other for other in earlier if other.from_epoch < found.from_epoch)
        relisted[source] = (*kept, found)
    corpora = {**timeline.corpora, **_corpora(line)}
    amended = replace(timeline, corpora=corpora, relisted=relisted)
    return amended.with_curriculum(line["row"], curriculum)


def _guarded(timeline: Timeline, line: Decision) -> Timeline:
    group, level = line["group"], line["after"]
    if not 0 <= level <= timeline.curriculum.guards[group].steps:
        raise ValueError(f"group {group} cannot be at level {level}")
    return timeline.with_levels(line["row"], {**timeline.levels_at(line["row"]), group: level})


def _forked(timeline: Timeline, line: Decision) -> Timeline:
    skipped = tuple((int(first), int(last)) for first, last in line["skip_steps"])
    forked = replace(timeline, skipped_steps=(*timeline.skipped_steps, *skipped))
    decay = line.get("annealing")
    if decay is None:
        return forked
    annealing = Annealing(from_step=decay["from_step"], tokens=decay["tokens"])
    return replace(forked, annealing=annealing, annealing_end=int(decay["end_row"]))


def _no_change(timeline: Timeline, line: Decision) -> Timeline:
    return timeline


def _corpora(line: Decision) -> dict[str, Corpus]:
    return {
        name: Corpus.model_validate(form | {"name": name}) for name, form in line["corpora"].items()
    }


_FOLDS: dict[str, Callable[[Timeline, Decision], Timeline]] = {
    "amend": _amended,
    "fork": _forked,
    "guard": _guarded,
    "resume": _no_change,
    "shard": _no_change,
}
"""Function that applies each kind of decision to a timeline."""
