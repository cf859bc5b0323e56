"""Folds the decision log into the run's mixtures, each from its first row.

`decisions.jsonl` is the only source of a run's segments. Each line is written while the run is at
its `step`, with `row` the next row, and contains everything that it changes::

    {"step": 0,  "kind": "start",  "row": 0, "sequence_length": ..., "curriculum": {...},
                 "corpora": {...}}
    {"step": 20, "kind": "guard",  "row": 160, "group": "english", "before": 0, "after": 1, ...}
    {"step": 40, "kind": "resume", "evaluated_step": 40, "changes": [...], "set_aside": [...]}
    {"step": 40, "kind": "amend",  "row": 320, "curriculum": {...}, "corpora": {...},
                 "relisted": {source: {"from_epoch": ..., "file": ..., "sha256": ...}}}
    {"step": 40, "kind": "fork",   "run": ..., "skip_steps": [[41, 45], ...]}

A run may resume from an earlier checkpoint, and the log is never truncated. So a line at some step
voids every earlier line of a later step (`standing`). A resume also voids the guards' decisions
from evaluations that the checkpoint does not contain: they are taken again.

To add a kind of decision:

1. Append its line when the run is at `step`, before the first row that it affects:
   `run.append("decisions", {"step": ..., "time": ..., "kind": "mine", "row": ..., ...})`. The line
   holds if the run resumes from a checkpoint of this step or a later one, and is voided otherwise.
2. Add a function `(Course, line) -> Course` to `_FOLDS`, and its values to `Course`. If it changes
   the mixture, return `course.with_segment(row, mixture)`: the segment's counts and integrals begin
   at that row, and it replaces a segment that begins there already. If it does not change rows,
   use `_no_change`.

The stream, the counts and the monitor take the plan from `fold`, so they need no change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from linly.config.corpus import Corpus
from linly.config.curriculum import Curriculum, SourceShare
from linly.config.recipe import Recipe
from linly.curriculum.apportion import Segment
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
class Course:
    """State of a run's plan after its decisions.

    Attributes:
        sequence_length: Row length in tokens.
        curricula: All curricula that have been in force, oldest first; the last one is in force.
        corpora: Corpora that any of them uses, by name.
        relisted: Source -> lists of its shards made during the run, by ascending epoch.
        segments: Mixtures, each from its first row.
        levels: Guard steps by which each group is raised, from a row on.
        passed_over: (first, last) steps to skip: their rows are consumed but not trained on.
    """

    sequence_length: int
    curricula: tuple[Curriculum, ...]
    corpora: Mapping[str, Corpus]
    relisted: Mapping[str, tuple[Relisted, ...]] = field(default_factory=dict)
    segments: tuple[Segment, ...] = field(default=(), compare=False)  # derived from the rest
    levels: tuple[tuple[int, Mapping[str, int]], ...] = field(default=())
    passed_over: tuple[tuple[int, int], ...] = field(default=())

    @property
    def curriculum(self) -> Curriculum:
        """Curriculum in force."""
        return self.curricula[-1]

    @property
    def num_rows(self) -> int:
        """Rows of the run."""
        return self.curriculum.tokens // self.sequence_length

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

    def is_passed_over(self, step: int) -> bool:
        """Whether the rows of a step are consumed but not trained on."""
        return any(first <= step <= last for first, last in self.passed_over)

    def levels_at(self, row: int) -> Mapping[str, int]:
        """Guard levels in force at a row; a missing group is at 0."""
        return next((levels for start, levels in reversed(self.levels) if start <= row), {})

    def with_curriculum(self, row: int, curriculum: Curriculum) -> Course:
        """The course with another curriculum from `row` on.

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

    def with_levels(self, row: int, levels: Mapping[str, int]) -> Course:
        """The course with guarded groups at these levels from `row` on."""
        mixture = Mixture.from_curriculum(self.curriculum, num_rows=self.num_rows, levels=levels)
        kept = tuple(entry for entry in self.levels if entry[0] < row)
        return replace(self.with_segment(row, mixture), levels=(*kept, (row, levels)))

    def with_segment(self, row: int, mixture: Mixture) -> Course:
        """The course with another mixture from `row` on; replaces a segment that begins there."""
        kept = tuple(segment for segment in self.segments if segment.from_row < row)
        return replace(self, segments=(*kept, Segment(row, mixture)))


def fold(decisions: Iterable[Decision], *, step: int | None = None) -> Course:
    """Compute the course of a run.

    Args:
        decisions: Lines of its decisions.jsonl.
        step: Step at which to compute it; None is the newest.

    Raises:
        CheckpointError: If the log is damaged, or has an unknown kind of decision.
    """
    lines = standing(decisions, step=step)
    if not lines or lines[0].get("kind") != "start":
        raise CheckpointError(
            "decisions.jsonl has no 'start' line, so the schedule cannot be reconstructed; "
            "restore the file from a backup, or start a new run with run=PATH"
        )
    try:
        course = _started(lines[0])
        for line in lines[1:]:
            course = follow(course, line)
    except (
        *(KeyError, TypeError, ValueError, AttributeError, OverflowError),
        *(ValidationError, ConfigError),
    ) as error:
        raise CheckpointError(
            f"decisions.jsonl: a line cannot be read: {error!r}; a later version of linly may have "
            f"written it (kinds known here: {', '.join(sorted(_FOLDS))}): use that version, or "
            "restore the file from a backup"
        ) from error
    return course


def _voids(line: Decision, earlier: Decision) -> bool:
    """Whether a line voids an earlier one."""
    if line.get("kind") == "resume" and earlier.get("kind") == "guard":
        return bool(earlier["step"] > (line["evaluated_step"] or 0))
    return bool(earlier["step"] > line["step"])


def follow(course: Course, line: Decision) -> Course:
    """Apply one more decision to a course."""
    return _FOLDS[line["kind"]](course, line)


def standing(decisions: Iterable[Decision], *, step: int | None = None) -> list[Decision]:
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
    standing_now = standing(decisions)
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


def segment_at(segments: Sequence[Segment], row: int) -> Segment:
    """Segment that contains a row."""
    return next(segment for segment in reversed(segments) if segment.from_row <= row)


def _started(line: Decision) -> Course:
    curriculum = Curriculum.model_validate(line["curriculum"])
    blank = Course(line["sequence_length"], (), _corpora(line))
    return blank.with_curriculum(line["row"], curriculum)


def _amended(course: Course, line: Decision) -> Course:
    curriculum = Curriculum.model_validate(line["curriculum"])
    relisted = dict(course.relisted)
    for source, values in line["relisted"].items():
        found = Relisted(**values)
        earlier = relisted.get(source, ())
        kept = tuple(other for other in earlier if other.from_epoch < found.from_epoch)
        relisted[source] = (*kept, found)
    corpora = {**course.corpora, **_corpora(line)}
    amended = replace(course, corpora=corpora, relisted=relisted)
    return amended.with_curriculum(line["row"], curriculum)


def _guarded(course: Course, line: Decision) -> Course:
    group, level = line["group"], line["after"]
    if not 0 <= level <= course.curriculum.guards[group].steps:
        raise ValueError(f"group {group} cannot be at level {level}")
    return course.with_levels(line["row"], {**course.levels_at(line["row"]), group: level})


def _forked(course: Course, line: Decision) -> Course:
    skipped = tuple((int(first), int(last)) for first, last in line["skip_steps"])
    return replace(course, passed_over=(*course.passed_over, *skipped))


def _no_change(course: Course, line: Decision) -> Course:
    return course


def _corpora(line: Decision) -> dict[str, Corpus]:
    return {
        name: Corpus.model_validate(form | {"name": name}) for name, form in line["corpora"].items()
    }


_FOLDS: dict[str, Callable[[Course, Decision], Course]] = {
    "amend": _amended,
    "fork": _forked,
    "guard": _guarded,
    "resume": _no_change,
    "shard": _no_change,
}
"""Function that applies each kind of decision to a course."""
