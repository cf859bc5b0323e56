"""Where a launch starts: `begin` at step 0, or `resume` at a checkpoint.

Both bring the run folder's records to that point, after the checks of `start_checks`, and return
the same kind of value, from which `build` makes the objects of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from linly.config.recipe import Recipe
from linly.curriculum.timeline import Timeline, fold, start_decision
from linly.evaluation.curve_guard import raised_groups
from linly.training.changes.pinned_inputs import pin_inputs, unlisted_shards, write_recipe
from linly.training.changes.resume import SettingChange, recorded
from linly.training.changes.resumption import Resumption, SavedState
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.manifest import note_checkpoint
from linly.training.engine.environment import describe_machine, describe_versions
from linly.training.loop.start_checks import Launch


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """Where a launch starts.

    Attributes:
        recipe: Recipe with the curriculum in force.
        timeline: Timeline by the decisions in force.
        saved: Checkpoint to load; None at step 0.
        changes: Settings that differ from those of the checkpoint.
        notices: Notices about the start.
    """

    recipe: Recipe
    timeline: Timeline
    saved: SavedState | None
    changes: tuple[SettingChange, ...]
    notices: tuple[str, ...]


def begin(launch: Launch) -> StartingPoint:
    """Start a run at step 0: pin its inputs, and clear records of starts without a checkpoint."""
    run, processes, model = launch.run, launch.processes, launch.model
    with processes.together("clearing the run folder"):
        if processes.is_first:
            run.truncate(-1)
    pin_inputs(run, launch.recipe, model.stored, launch.inventories, processes)
    start = start_decision(launch.recipe)
    if processes.is_first:
        run.append_decision(start)
    _record_start(launch, 0, "start", "started")
    notices = (*_model_notices(launch), *launch.export_notes, *launch.plan.exclusions())
    return StartingPoint(launch.recipe, fold([start]), None, (), notices)


def resume(launch: Launch, resumption: Resumption, checkpoints: Checkpoints) -> StartingPoint:
    """Resume a run from a checkpoint: truncate its records to that step, and record the changes.

    Later checkpoints are set aside if `--resume` asks for this one.
    """
    run, processes = launch.run, launch.processes
    recipe, timeline, saved = resumption.recipe, resumption.timeline, resumption.saved
    step = saved.content["step"]
    aside = checkpoints.set_aside_after(step) if launch.resume_step is not None else []
    _rewind(launch, resumption, aside)
    if processes.is_first:
        note_checkpoint(run, saved.folder)
    notices = [*_model_notices(launch), *resumption.notices]
    notices += raised_groups(timeline, row=step * recipe.data.global_batch)
    with processes.together("looking for new shards"):
        if processes.is_first:
            notices += unlisted_shards(run, recipe, timeline)
    return StartingPoint(recipe, timeline, saved, resumption.changes, tuple(notices))


def _model_notices(launch: Launch) -> list[str]:
    return [f"model {launch.model.path}: {note}" for note in launch.model.notes]


def _rewind(launch: Launch, resumption: Resumption, aside: list[str]) -> None:
    """Truncate the run's records to the checkpoint.

    Every resume writes a decision, even without changes, because it voids earlier decisions about
    later steps.
    """
    run, processes, state = launch.run, launch.processes, resumption.saved.content
    with processes.together("rewinding the run folder"):
        if processes.is_first:
            run.truncate(state["step"], evaluated_step=state["evaluated_step"])
            write_recipe(run, resumption.recipe)
    changes = recorded(resumption.changes)
    parts = [f"resumed after step {state['step']}", *map(str, changes)]
    parts += [f"set aside {name}" for name in aside]
    if processes.is_first:
        details = {"changes": [change.to_json() for change in changes], "set_aside": aside}
        run.append_decision({**resumption.decision, **details})
    _record_start(launch, state["step"], "resume", "; ".join(parts))


def _record_start(launch: Launch, step: int, kind: str, text: str) -> None:
    if launch.processes.is_first:
        launch.run.append_event(
            step,
            kind,
            text,
            world_size=launch.world_size,
            machine=describe_machine(),
            versions=describe_versions(),
            languages=launch.recipe.languages.file_form(),
        )
