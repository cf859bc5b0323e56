"""A run at a checkpoint, read without training it: what it has made, and what was to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linly.config.recipe import Recipe, load_recipe
from linly.curriculum.decisions import Course, fold, resume_decision
from linly.runs.runs import RunFolder
from linly.training.checkpoints.manifest import list_checkpoints, step_of, verified
from linly.training.checkpoints.stored import read_state


@dataclass(frozen=True, slots=True)
class Standpoint:
    """A run at a checkpoint, with what it was going to do.

    Attributes:
        recipe: With the curriculum in force.
        cursors: Where each source goes on, as the checkpoint has it.
        rows: Made by each source so far.
        counts: Likewise, since the segment's start.
        baseline: Evaluation before the first step, by source.
        torn: Names of later checkpoints, none of them whole.
    """

    recipe: Recipe
    course: Course
    step: int
    cursors: Mapping[str, Any]
    rows: Mapping[str, int]
    counts: Mapping[str, int]
    baseline: Mapping[str, Any]
    torn: tuple[str, ...]

    @property
    def row(self) -> int:
        """The next row."""
        return self.step * self.recipe.data.global_batch

    def epoch(self, source: str) -> int:
        """The epoch that a source stands in, from 0."""
        cursor = self.cursors.get(source)
        return 0 if cursor is None else int(cursor["block"]["epoch"])

    def has_begun_epoch(self, source: str) -> bool:
        """Whether a source has read anything of the epoch it stands in."""
        cursor = self.cursors.get(source)
        if cursor is None:
            return False
        parts = (cursor["block"]["epoch_records"], cursor["slot"], cursor["token"])
        return any(parts) or cursor["packed_row"] > 0


def standpoint(run: RunFolder, *, step: int | None = None) -> Standpoint:
    """A run at its newest whole checkpoint, or at that of a step.

    Raises:
        CheckpointError: There is none, or the decision log cannot be read.
    """
    folder, manifest = verified(run.checkpoints, step)
    later = [path for path in list_checkpoints(run.checkpoints) if step_of(path) > manifest.step]
    state = read_state(folder)
    here = resume_decision(state["step"], evaluated_step=state["evaluated_step"])
    course = fold([*run.read("decisions"), here])
    data = state["data"]
    used = {share.corpus for _, share in course.curriculum.sources.values()}
    corpora = {name: course.corpora[name] for name in sorted(used)}
    recipe = load_recipe(run.path / "recipe.yaml")
    inside = data["segment_from"] == course.segments[-1].from_row
    return Standpoint(
        recipe.model_copy(update={"curriculum": course.curriculum, "corpora": corpora}),
        course,
        state["step"],
        cursors=data["cursors"],
        rows=data["rows"],
        counts=data["counts"] if inside else {},
        baseline=state["baseline"],
        torn=tuple(path.name for path in later) if step is None else (),
    )
