"""Where a launch starts: `begin` at step 0, or `resume` at a checkpoint.

Both check the recipe against the run folder, bring the folder's records to that point, and return
the same kind of value, from which `build` makes the objects of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linly.config.recipe import Recipe
from linly.curriculum.timeline import (
    Timeline,
    fold,
    lost_amendments,
    resume_decision,
    start_decision,
)
from linly.errors import CheckpointError, ConfigError
from linly.evaluation.curve_guard import raised_groups
from linly.export.rehearsal import try_export
from linly.runs.runs import RunFolder
from linly.training.changes.pinned_inputs import pin_inputs, unlisted_shards, write_recipe
from linly.training.changes.resume import (
    SettingChange,
    curriculum_notice,
    in_force,
    kept_amendments,
    plain_before,
    recorded_changes,
)
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.manifest import check_never_saved, note_checkpoint
from linly.training.checkpoints.state_form import STATE_VERSION
from linly.training.engine.environment import describe_machine, describe_versions
from linly.training.loop.checked_model import CheckedModel
from linly.training.ranks.processes import Processes


@dataclass(frozen=True, slots=True)
class SavedState:
    """A verified checkpoint: its folder, and the content of its state.json."""

    folder: Path
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """Where a launch starts.

    Attributes:
        recipe: Recipe with the curriculum in force.
        timeline: Timeline by the decisions in force.
        saved: Checkpoint to load; None at step 0.
        notices: Notices about the start.
    """

    recipe: Recipe
    timeline: Timeline
    saved: SavedState | None
    notices: tuple[str, ...]


def begin(
    recipe: Recipe, run: RunFolder, model: CheckedModel, processes: Processes
) -> StartingPoint:
    """Start a run at step 0: pin its inputs, and clear records of starts without a checkpoint.

    Raises:
        CheckpointError: If the run had a checkpoint that is now missing.
        LinlyError: If the model cannot be exported, or the data does not fit the curriculum.
    """
    notices = list(model.notices)
    with processes.together("trying an export"):
        if processes.is_first:
            notices += try_export(model.path, model.stored.config, model.tokenizer)
    with processes.together("clearing the run folder"):
        if processes.is_first:
            check_never_saved(run, recipe.checkpoint.mirror)
            run.truncate(-1)
    pin_inputs(run, recipe, model.stored, model.tokenizer, processes)
    start = start_decision(recipe)
    if processes.is_first:
        run.append_decision(start)
    _record_start(recipe, run, processes, 0, "start", "started")
    return StartingPoint(recipe, fold([start]), None, tuple(notices))


def resume(
    recipe: Recipe,
    run: RunFolder,
    model: CheckedModel,
    processes: Processes,
    checkpoints: Checkpoints,
    folder: Path,
    *,
    is_asked_for: bool,
) -> StartingPoint:
    """Resume a run from a checkpoint: truncate its records to that step, and record the changes.

    Args:
        recipe: Recipe of this launch.
        run: Locked folder of the run.
        model: Model of the recipe.
        processes: Processes of the run.
        checkpoints: Checkpoints of the run.
        folder: Folder of the verified checkpoint.
        is_asked_for: Whether `--resume` asks for this checkpoint; later ones are set aside.

    Raises:
        CheckpointError: If another version wrote the checkpoint, or an amendment would be lost.
        ConfigError: If the recipe or the model is not that of the run.
    """
    state = read_state(folder)
    _check_version(run, state)
    step = state["step"]
    decisions = read_decisions(run, processes)
    lost = lost_amendments(decisions, step)
    notices = list(model.notices)
    notices += kept_amendments(run.path, lost, step=step, is_asked_for=is_asked_for)
    decision = resume_decision(step, evaluated_step=state["evaluated_step"])
    timeline = fold([*decisions, decision])
    given, recipe = recipe, in_force(recipe, timeline)
    notices += curriculum_notice(given, recipe)
    changes = _check_same_run(recipe, timeline, run, state, model)
    aside = checkpoints.set_aside_after(step) if is_asked_for else []
    _rewind(recipe, run, processes, state, decision, changes, aside)
    if processes.is_first:
        note_checkpoint(run, folder)
    notices += raised_groups(timeline, row=step * recipe.data.global_batch)
    with processes.together("looking for new shards"):
        if processes.is_first:
            notices += unlisted_shards(run, recipe, timeline)
    return StartingPoint(recipe, timeline, SavedState(folder, state), tuple(notices))


def read_decisions(run: RunFolder, processes: Processes) -> list[dict[str, Any]]:
    """The run's decision log, the same on every rank; a collective."""
    lines: list[dict[str, Any]] = []
    with processes.together("reading the run's decisions"):
        if processes.is_first:
            lines = list(run.read("decisions"))
    found: list[dict[str, Any]] = processes.gather_json(lines)[0]
    return found


def _check_version(run: RunFolder, state: dict[str, Any]) -> None:
    if state["version"] != STATE_VERSION:
        raise CheckpointError(
            f"{run.path}: its checkpoint has state version {state['version']}, but this version of "
            f"linly reads {STATE_VERSION}; resume it with the version that wrote it"
        )


def _check_same_run(
    recipe: Recipe,
    timeline: Timeline,
    run: RunFolder,
    state: dict[str, Any],
    model: CheckedModel,
) -> list[SettingChange]:
    """Refuse to resume with another recipe or model, and return the changes to record."""
    changes = recorded_changes(plain_before(state["recipe"], timeline), recipe.file_form())
    saved, found = state["model"], model.identity
    if saved != found:
        names = sorted(saved.keys() | found.keys())
        other = [name for name in names if saved.get(name) != found.get(name)]
        raise ConfigError(
            f"model {model.path} does not match the run in {run.path}: {', '.join(other)} "
            "differs. Use the original model, or start a new run with run=PATH"
        )
    return changes


def _rewind(
    recipe: Recipe,
    run: RunFolder,
    processes: Processes,
    state: dict[str, Any],
    decision: dict[str, Any],
    changes: list[SettingChange],
    aside: list[str],
) -> None:
    """Truncate the run's records to the checkpoint.

    Every resume writes a decision, even without changes, because it voids earlier decisions about
    later steps.
    """
    with processes.together("rewinding the run folder"):
        if processes.is_first:
            run.truncate(state["step"], evaluated_step=state["evaluated_step"])
            write_recipe(run, recipe)
    parts = [f"resumed after step {state['step']}", *map(str, changes)]
    parts += [f"set aside {name}" for name in aside]
    if processes.is_first:
        details = {
            "changes": [change.to_json() for change in changes],
            "set_aside": aside,
        }
        run.append_decision(decision | details)
    _record_start(recipe, run, processes, state["step"], "resume", "; ".join(parts))


def _record_start(
    recipe: Recipe, run: RunFolder, processes: Processes, step: int, kind: str, text: str
) -> None:
    if processes.is_first:
        run.append_event(
            step,
            kind,
            text,
            world_size=processes.world_size,
            machine=describe_machine(),
            versions=describe_versions(),
            languages=recipe.languages.file_form(),
        )
