"""State of a run at a checkpoint, read without training it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linly.config.recipe import Recipe, load_recipe
from linly.curriculum.timeline import Timeline, fold, resume_decision
from linly.runs.runs import RunFolder
from linly.training.changes.annealing import with_annealing
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.manifest import list_checkpoints, step_of, verified


@dataclass(frozen=True, slots=True)
class RunAtCheckpoint:
    """State of a run at a checkpoint, with its timeline.

    Attributes:
        recipe: Recipe with the curriculum in force.
        cursors: Cursor of each source, in the checkpoint's form.
        rows: Rows of each source so far.
        counts: Rows of each source since the phase's start.
        baseline: Evaluation before the first step, by source.
        tasks_before: Results of the tasks before the first step, by task.
        incomplete: Names of later checkpoints, all of them incomplete or damaged.
    """

    recipe: Recipe
    timeline: Timeline
    step: int
    cursors: Mapping[str, Any]
    rows: Mapping[str, int]
    counts: Mapping[str, int]
    baseline: Mapping[str, Any]
    tasks_before: Mapping[str, Any]
    incomplete: tuple[str, ...]

    @property
    def row(self) -> int:
        """Index of the next row."""
        return self.step * self.recipe.data.global_batch

    def epoch(self, source: str) -> int:
        """Current epoch of a source, from 0."""
        cursor = self.cursors.get(source)
        return 0 if cursor is None else int(cursor["block"]["epoch"])

    def has_begun_epoch(self, source: str) -> bool:
        """Whether a source has read any of its current epoch."""
        cursor = self.cursors.get(source)
        if cursor is None:
            return False
        parts = (cursor["block"]["epoch_records"], cursor["slot"], cursor["token"])
        return any(parts) or cursor["packed_row"] > 0


def run_at_checkpoint(run: RunFolder) -> RunAtCheckpoint:
    """State of a run at its newest complete checkpoint.

    Raises:
        CheckpointError: If there is none, or the decision log cannot be followed.
        TrainingError: If a line of the decision log is damaged.
    """
    folder, manifest = verified(run.checkpoints, None)
    later = [path for path in list_checkpoints(run.checkpoints) if step_of(path) > manifest.step]
    state = read_state(folder)
    here = resume_decision(state["step"], evaluated_step=state["evaluated_step"])
    timeline = fold([*run.read("decisions"), here])
    data = state["data"]
    used = {share.corpus for _, share in timeline.curriculum.sources.values()}
    corpora = {name: timeline.corpora[name] for name in sorted(used)}
    recipe = with_annealing(load_recipe(run.path / "recipe.yaml"), timeline)
    inside = data["segment_from"] == timeline.phases[-1].from_row
    return RunAtCheckpoint(
        recipe.model_copy(update={"curriculum": timeline.curriculum, "corpora": corpora}),
        timeline,
        state["step"],
        cursors=data["cursors"],
        rows=data["rows"],
        counts=data["counts"] if inside else {},
        baseline=state["baseline"],
        tasks_before=state.get("tasks_before", {}),
        incomplete=tuple(path.name for path in later),
    )
