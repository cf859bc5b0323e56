"""The decision log folded: which mixture holds from which row on.

`decisions.jsonl` is the single source of a run's segments; nothing else says what comes next. Each
line is written while the run stands at its `step`, `row` being the next row, and holds all that it
changes::

    {"step": 0,  "kind": "start",  "row": 0, "sequence_length": ..., "curriculum": {...},
                 "corpora": {...}}
    {"step": 20, "kind": "guard",  "row": 160, "group": "english", "before": 0, "after": 1, ...}
    {"step": 40, "kind": "resume", "evaluated_step": 40, "changes": [...], "set_aside": [...]}
    {"step": 40, "kind": "amend",  "row": 320, "curriculum": {...}, "corpora": {...},
                 "relisted": {source: {"from_epoch": ..., "file": ..., "sha256": ...}}}
    {"step": 40, "kind": "fork",   "run": ..., "skip_steps": [[41, 45], ...]}

A run may go back to a checkpoint, and the log is never cut. So a line at some step voids every
earlier line of a later step: the run has left that future (`standing`). A resume also voids what
guards made of evaluations that the checkpoint does not know: they are made again.

To add a kind of decision:

1. Append its line when the run stands at `step`, before the first row that follows from it:
   `run.append("decisions", {"step": ..., "time": ..., "kind": "mine", "row": ..., ...})`. It is
   kept if a checkpoint of this step or a later one is, and voided otherwise.
2. Put a function `(Course, line) -> Course` into `_FOLDS`, and what it keeps into `Course`. One
   that changes the mixture returns `course.with_segment(row, mixture)`; the segment's counts and
   integrals begin at that row, and it takes the place of one that begins there already. One that
   changes nothing about rows is `_no_change`.

Everything that needs the plan (the stream, the counts, the monitor) calls `fold` and so follows.
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
    """A list of a source's shards made during the run, which holds from one of its epochs on.

    Attributes:
        from_epoch: The first that the source had not begun when the list was made.
        file: Its name in the run's folder of shard lists.
        sha256: Of the file.
    """

    from_epoch: int
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Course:
    """What the decisions make of a run.

    Attributes:
        sequence_length: In tokens.
        curricula: Every curriculum that has held, oldest first; the last is in force.
        corpora: Those that any of them uses, by name.
        relisted: Source -> the lists that were made of its shards since, by ascending epoch.
        segments: The mixtures, each from its first row.
        levels: By how many of its guard's steps each group is raised, from a row on.
        passed_over: (first, last) steps whose rows are drawn and not trained on.
    """

    sequence_length: int
    curricula: tuple[Curriculum, ...]
    corpora: Mapping[str, Corpus]
    relisted: Mapping[str, tuple[Relisted, ...]] = field(default_factory=dict)
    segments: tuple[Segment, ...] = field(default=(), compare=False)  # follow from the rest
    levels: tuple[tuple[int, Mapping[str, int]], ...] = field(default=())
    passed_over: tuple[tuple[int, int], ...] = field(default=())

    @property
    def curriculum(self) -> Curriculum:
        """The one in force."""
        return self.curricula[-1]

    @property
    def num_rows(self) -> int:
        """Rows of the run."""
        return self.curriculum.tokens // self.sequence_length

    @property
    def sources(self) -> dict[str, SourceShare]:
        """Every source that has ever had a share, as the newest curriculum that names it says."""
        return {
            name: share
            for curriculum in self.curricula
            for name, (_, share) in curriculum.sources.items()
        }

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The sources of each group, those that are gone in the last group they were in."""
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
        """Whether the rows of a step are drawn and not trained on."""
        return any(first <= step <= last for first, last in self.passed_over)

    def levels_at(self, row: int) -> Mapping[str, int]:
        """The levels in force at a row; a group that is missing is at 0."""
        return next((levels for start, levels in reversed(self.levels) if start <= row), {})

    def with_curriculum(self, row: int, curriculum: Curriculum) -> Course:
        """The course with another curriculum from `row` on.

        A group that has a guard in it stays as far raised as it is.

        Raises:
            ConfigError: Its ratios do not add up, or it has no row.
        """
        amended = replace(self, curricula=(*self.curricula, curriculum))
        before = self.levels_at(row)
        kept = {
            group: min(before.get(group, 0), guard.steps)
            for group, guard in curriculum.guards.items()
        }
        return amended.with_levels(row, kept)

    def with_levels(self, row: int, levels: Mapping[str, int]) -> Course:
        """The course with guarded groups raised so far from `row` on."""
        mixture = Mixture.from_curriculum(self.curriculum, num_rows=self.num_rows, levels=levels)
        kept = tuple(entry for entry in self.levels if entry[0] < row)
        return replace(self.with_segment(row, mixture), levels=(*kept, (row, levels)))

    def with_segment(self, row: int, mixture: Mixture) -> Course:
        """The course with another mixture from `row` on, in place of one that begins there."""
        kept = tuple(segment for segment in self.segments if segment.from_row < row)
        return replace(self, segments=(*kept, Segment(row, mixture)))


def fold(decisions: Iterable[Decision], *, step: int | None = None) -> Course:
    """The course of a run.

    Args:
        decisions: The lines of its decisions.jsonl.
        step: Only what held when the run stood at this step; None is now.

    Raises:
        CheckpointError: The log is damaged, or has a kind of decision that is not known here.
    """
    lines = standing(decisions, step=step)
    if not lines or lines[0].get("kind") != "start":
        raise CheckpointError(
            "decisions.jsonl: the run's segments were asked of it; found no line of kind 'start'; "
            "bring the file back from a copy, or start another run with run=PATH"
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
            "bring the file back from a copy"
        ) from error
    return course


def _voids(line: Decision, earlier: Decision) -> bool:
    """Whether a line takes the run back to before an earlier one."""
    if line.get("kind") == "resume" and earlier.get("kind") == "guard":
        return bool(earlier["step"] > (line["evaluated_step"] or 0))
    return bool(earlier["step"] > line["step"])


def follow(course: Course, line: Decision) -> Course:
    """The course after one more decision."""
    return _FOLDS[line["kind"]](course, line)


def standing(decisions: Iterable[Decision], *, step: int | None = None) -> list[Decision]:
    """The decisions that still hold, in the order taken.

    Args:
        decisions: All that were ever taken.
        step: Where the run goes on; what was decided after it does not hold. None is the newest.
    """
    kept: list[Decision] = []
    for line in decisions:
        if line.get("kind") == "start":
            kept = []
        kept = [earlier for earlier in kept if not _voids(line, earlier)]
        kept.append(line)
    return [line for line in kept if step is None or line["step"] <= step]


def lost_amendments(decisions: Iterable[Decision], step: int) -> list[int]:
    """Steps of the amendments in force that going on from `step` would undo."""
    standing_now = standing(decisions)
    return [
        line["step"] for line in standing_now if line["kind"] == "amend" and line["step"] > step
    ]


def start_decision(recipe: Recipe) -> dict[str, Any]:
    """The line with which a run begins; its time is for the writer to add."""
    return {
        "step": 0,
        "kind": "start",
        "row": 0,
        "sequence_length": recipe.data.sequence_length,
        **curriculum_form(recipe.curriculum, recipe.corpora),
    }


def resume_decision(step: int, *, evaluated_step: int | None) -> dict[str, Any]:
    """The line with which a run goes on from a checkpoint.

    Args:
        step: Of the checkpoint.
        evaluated_step: Of the last evaluation that it knows.
    """
    return {"step": step, "kind": "resume", "evaluated_step": evaluated_step}


def curriculum_form(curriculum: Curriculum, corpora: Mapping[str, Corpus]) -> dict[str, Any]:
    """A curriculum and the corpora that it uses, as a line keeps them."""
    used = sorted({share.corpus for _, share in curriculum.sources.values()})
    return {
        "curriculum": curriculum.file_form(),
        "corpora": {name: corpora[name].file_form() for name in used},
    }


def segment_at(segments: Sequence[Segment], row: int) -> Segment:
    """The segment that a row belongs to."""
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
"""What each kind of decision makes of a course."""
