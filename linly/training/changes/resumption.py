"""A run and a recipe at a checkpoint: whether the one may resume with the other, and how.

Everything here reads and decides; `linly.training.loop.starting_point` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linly.config.recipe import Recipe
from linly.curriculum.timeline import Decision, Timeline, fold, lost_amendments, resume_decision
from linly.errors import CheckpointError, ConfigError
from linly.training.changes.annealing import check_schedule
from linly.training.changes.resume import (
    SettingChange,
    allowed_changes,
    curriculum_notice,
    in_force,
    kept_amendments,
    plain_before,
)
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.state_form import STATE_VERSION


@dataclass(frozen=True, slots=True)
class SavedState:
    """A checkpoint: its folder, and the content of its state.json."""

    folder: Path
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resumption:
    """How a run resumes at a checkpoint.

    Attributes:
        recipe: Recipe with the curriculum in force.
        timeline: Timeline by the decisions in force.
        saved: Checkpoint to load.
        decision: Line of decisions.jsonl, without the changes.
        changes: Settings that differ from those of the checkpoint, all of them allowed.
        notices: Notices about the decisions that the checkpoint changes.
    """

    recipe: Recipe
    timeline: Timeline
    saved: SavedState
    decision: Mapping[str, Any]
    changes: tuple[SettingChange, ...]
    notices: tuple[str, ...]


def plan_resumption(
    recipe: Recipe,
    decisions: Sequence[Decision],
    folder: Path,
    identity: Mapping[str, str],
    *,
    is_asked_for: bool,
) -> Resumption:
    """Decide how a recipe resumes its run at a checkpoint.

    Args:
        recipe: Recipe of this launch.
        decisions: Lines of the run's decisions.jsonl.
        folder: Folder of the checkpoint.
        identity: Identity of the recipe's model.
        is_asked_for: Whether the user asked for this checkpoint.

    Raises:
        CheckpointError: If another version wrote the checkpoint, or an amendment would be lost.
        ConfigError: If the recipe or the model is not that of the run.
    """
    state = read_state(folder)
    _check_version(recipe.run, state)
    step = state["step"]
    lost = lost_amendments(decisions, step)
    notices = kept_amendments(recipe.run, lost, step=step, is_asked_for=is_asked_for)
    decision = resume_decision(step, evaluated_step=state["evaluated_step"])
    timeline = fold([*decisions, decision])
    current = in_force(recipe, timeline)
    notices += curriculum_notice(recipe, current)
    _check_tasks(current)
    changes = allowed_changes(plain_before(state["recipe"], timeline), current.file_form())
    check_schedule(current)
    _check_model(recipe, state["model"], identity)
    saved = SavedState(folder, state)
    return Resumption(current, timeline, saved, decision, tuple(changes), tuple(notices))


def _check_version(run: Path, state: Mapping[str, Any]) -> None:
    if state["version"] != STATE_VERSION:
        raise CheckpointError(
            f"{run}: its checkpoint has state version {state['version']}, but this version of "
            f"linly reads {STATE_VERSION}; resume it with the version that wrote it"
        )


def _check_tasks(recipe: Recipe) -> None:
    """Refuse a recipe without a task that a guard of the curriculum in force watches."""
    tasks = {task.name for task in recipe.evaluation.tasks}
    for group, guard in recipe.curriculum.guards.items():
        if guard.task is not None and guard.task not in tasks:
            raise ConfigError(
                f"evaluation.tasks: {guard.task} is missing, which the guard of group {group} in "
                f"the run's curriculum {recipe.curriculum.name} watches: add it again"
            )


def _check_model(recipe: Recipe, saved: Mapping[str, str], found: Mapping[str, str]) -> None:
    if saved != found:
        names = sorted(saved.keys() | found.keys())
        other = [name for name in names if saved.get(name) != found.get(name)]
        raise ConfigError(
            f"model {recipe.model} does not match the run in {recipe.run}: {', '.join(other)} "
            "differs. Use the original model, or start a new run with run=PATH"
        )
