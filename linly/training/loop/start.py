"""Preparation of a run before its first step: check, load, resume or start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from linly.config.deepspeed import settings_deepspeed_config
from linly.config.recipe import Recipe, plain_recipe
from linly.config.settings import Trainable
from linly.curriculum.plan import Batch
from linly.curriculum.timeline import (
    Timeline,
    fold,
    lost_amendments,
    resume_decision,
    start_decision,
)
from linly.data.loading.ranks import check_world_size
from linly.errors import CheckpointError, ConfigError
from linly.evaluation.curve_guard import raised_groups
from linly.evaluation.evaluation import Evaluator, check_prompts, prepare_held_out
from linly.export.rehearsal import try_export
from linly.modeling.attention.separation import row_layout
from linly.modeling.load import load_exactly
from linly.modeling.stored.stored_model import StoredModel
from linly.modeling.suitability import SuitableModel, examine_model
from linly.modeling.trainable import make_trainable
from linly.runs.runs import RunFolder
from linly.tokenization.load import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.changes.pinned_inputs import (
    model_identity,
    pin_inputs,
    read_held_out,
    unlisted_shards,
    write_recipe,
)
from linly.training.changes.resume import (
    Change,
    curriculum_notice,
    in_force,
    kept_amendments,
    plain_before,
    recorded_changes,
)
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.manifest import check_never_saved
from linly.training.checkpoints.mirror import Mirror
from linly.training.checkpoints.state_form import STATE_VERSION
from linly.training.engine.engine import Engine
from linly.training.engine.environment import describe_machine, describe_versions
from linly.training.engine.flops import flops_per_token, peak_flops
from linly.training.engine.randomness import seed_random_states
from linly.training.loop.session import Session, append_event, note_checkpoint
from linly.training.ranks.processes import Processes
from linly.training.recording.bookkeeping import Bookkeeper, Machine
from linly.training.recording.guards import Guards
from linly.training.recording.new_pieces import NewPieces


@contextmanager
def locked_run(recipe: Recipe, processes: Processes) -> Iterator[RunFolder]:
    """The run's folder, locked by rank 0 and visible to all ranks.

    Raises:
        TrainingError: If another process trains there, or a node sees another folder.
    """
    with ExitStack() as stack:
        token = None
        with processes.together("opening the run folder"):
            if processes.is_first:
                run = RunFolder.create_or_open(recipe.run)
                stack.callback(run.close)
                token = stack.enter_context(run.lock())
        token = processes.gather_json(token)[0]
        with processes.together("looking for the run folder"):
            if not processes.is_first:
                run = RunFolder(recipe.run)
                run.check_token(token)
        yield run


def prepare(
    recipe: Recipe, run: RunFolder, processes: Processes, *, resume_step: int | None
) -> Session:
    """Check, load, and resume or start a run; a collective.

    Args:
        recipe: Recipe of the run.
        run: Locked folder of the run.
        processes: Processes of the run.
        resume_step: Step of the checkpoint to resume; None for the newest complete one.

    Raises:
        LinlyError: If the world size, vocabulary, recipe, checkpoint or data does not fit.
    """
    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, processes.world_size)
    settings_deepspeed_config(  # refuses conflicting settings before anything is loaded
        recipe.training,
        recipe.data,
        world_size=processes.world_size,
        has_gpu=processes.device.type == "cuda",
    )
    if recipe.model is None:
        raise ConfigError("model: missing, but training needs one: add model=PATH")
    model = recipe.model
    tokenizer = load_tokenizer(model)
    suitable = _examined(recipe, model, tokenizer, processes)
    identity = _identity(model, recipe.training.trainable, processes)
    mirror = _make_mirror(recipe, run, processes)
    checkpoints = Checkpoints(
        run.checkpoints, processes, recipe.checkpoint, mirror, check_lock=run.check_lock
    )
    folder = checkpoints.newest() if resume_step is None else checkpoints.of_step(resume_step)
    state = None if folder is None else read_state(folder)
    notices = [f"model {model}: {note}" for note in suitable.notes]
    if state is None:
        with processes.together("trying an export"):
            if processes.is_first:
                notices += try_export(model, suitable.stored.config, tokenizer)
        _begin(recipe, run, suitable.stored, tokenizer, processes)
        timeline = fold([start_decision(recipe)])
    else:
        _check_version(run, state)
        decisions = read_decisions(run, processes)
        lost = lost_amendments(decisions, state["step"])
        is_asked_for = resume_step is not None
        notices += kept_amendments(run.path, lost, step=state["step"], is_asked_for=is_asked_for)
        resume = resume_decision(state["step"], evaluated_step=state["evaluated_step"])
        timeline = fold([*decisions, resume])
        given, recipe = recipe, in_force(recipe, timeline)
        notices += curriculum_notice(given, recipe)
        changes = _check_same_run(recipe, timeline, run, state, identity)
        aside = [] if resume_step is None else checkpoints.set_aside_after(resume_step)
        _rewind(recipe, run, processes, state, resume, changes, aside)
        if folder is not None and processes.is_first:
            note_checkpoint(run, folder)
        notices += raised_groups(timeline, row=state["step"] * recipe.data.global_batch)
        with processes.together("looking for new shards"):
            if processes.is_first:
                notices += unlisted_shards(run, recipe, timeline)
    engine = _make_engine(recipe, suitable.stored, processes)
    seed_random_states(recipe.data.seed, rank=processes.rank)
    session = Session(
        recipe,
        timeline,
        run,
        processes,
        tokenizer,
        identity,
        checkpoints,
        engine,
        Evaluator(
            prepare_held_out(recipe, read_held_out(run, recipe), tokenizer),
            processes,
            sequence_length=recipe.data.sequence_length,
            batch_rows=recipe.training.micro_batch,
            way=engine.evaluation_way,
        ),
        Guards(recipe.guards),
        _make_books(timeline, engine, processes, NewPieces.of_model(model, tokenizer)),
        notices=notices,
        mirror=mirror,
    )
    if folder is not None and state is not None:
        session.load(folder, state)
    for text in notices:
        session.event("notice", text)
    if mirror is not None:
        mirror.begin()
    return session


def _make_mirror(recipe: Recipe, run: RunFolder, processes: Processes) -> Mirror | None:
    mirror = None
    with processes.together("opening the mirror"):
        if processes.is_first and recipe.checkpoint.mirror is not None:
            mirror = Mirror(run.path, recipe.checkpoint.mirror, run.check_lock)
            mirror.refuse_another_run()
    return mirror


def _begin(
    recipe: Recipe, run: RunFolder, model: StoredModel, tokenizer: Tokenizer, processes: Processes
) -> None:
    """Clear the records of earlier starts without a checkpoint, and pin the inputs of the run.

    Raises:
        CheckpointError: If the run had a checkpoint that is now missing.
    """
    with processes.together("clearing the run folder"):
        if processes.is_first:
            check_never_saved(run, recipe.checkpoint.mirror)
            run.truncate(-1)
    pin_inputs(run, recipe, model, tokenizer, processes)
    if processes.is_first:
        run.append("decisions", start_decision(recipe) | {"time": time.time()})
    _record_start(run, processes, 0, "start", "started")


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
    identity: dict[str, str],
) -> list[Change]:
    """Refuse to resume with another recipe or model, and return the changes to record."""
    changes = recorded_changes(plain_before(state["recipe"], timeline), plain_recipe(recipe))
    if state["model"] != identity:
        names = sorted(state["model"].keys() | identity.keys())
        other = [name for name in names if state["model"].get(name) != identity.get(name)]
        raise ConfigError(
            f"model {recipe.model} does not match the run in {run.path}: {', '.join(other)} "
            "differs. Use the original model, or start a new run with run=PATH"
        )
    return changes


def _rewind(
    recipe: Recipe,
    run: RunFolder,
    processes: Processes,
    state: dict[str, Any],
    resume: dict[str, Any],
    changes: list[Change],
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
        decision = {
            "time": time.time(),
            "changes": [change.to_json() for change in changes],
            "set_aside": aside,
        }
        run.append("decisions", resume | decision)
    _record_start(run, processes, state["step"], "resume", "; ".join(parts))


def _record_start(run: RunFolder, processes: Processes, step: int, kind: str, text: str) -> None:
    if processes.is_first:
        details = {
            "world_size": processes.world_size,
            "machine": describe_machine(),
            "versions": describe_versions(),
        }
        append_event(run, step, kind, text, details)


def _identity(model: Path, trainable: Trainable, processes: Processes) -> dict[str, str]:
    """Identity of the run's model, checked to be the same on all ranks; a collective."""
    mine: dict[str, str] = {}
    with processes.together(f"reading model {model}"):
        mine = model_identity(model, trainable)
    for rank, identity in enumerate(processes.gather_json(mine)):
        if identity != mine:
            raise ConfigError(
                f"model {model}: differs between rank {rank} and rank {processes.rank}: every "
                "node needs the same files"
            )
    return mine


def _examined(
    recipe: Recipe, path: Path, tokenizer: Tokenizer, processes: Processes
) -> SuitableModel:
    """Check the model on every rank before anything is written; a collective."""
    found = None
    with processes.together(f"looking at model {path}"):
        found = examine_model(
            path, tokenizer, recipe.training, sequence_length=recipe.data.sequence_length
        )
        check_prompts(found.stored.config, tokenizer, recipe.evaluation)
    assert found is not None
    return found


def _make_engine(recipe: Recipe, stored: StoredModel, processes: Processes) -> Engine:
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with processes.together(f"loading model {stored.path}"):
        model = load_exactly(stored)
        make_trainable(model, recipe.training.trainable, seed=recipe.data.seed)
    rows_at_once = processes.world_size * recipe.training.micro_batch
    accumulation = recipe.data.global_batch // rows_at_once
    with processes.waiting("distributing the model over the ranks"):
        layout = row_layout(recipe)
        return Engine(model, recipe.training, accumulation=accumulation, layout=layout)


def _make_books(
    timeline: Timeline, engine: Engine, processes: Processes, new_pieces: NewPieces | None
) -> Bookkeeper:
    peak = peak_flops(processes.device)
    length = timeline.sequence_length
    return Bookkeeper(
        {name for phase in timeline.phases for name in phase.mixture.sources},
        Machine(
            processes.world_size,
            flops_per_token(engine.module, sequence_length=length),
            peak * processes.world_size if peak else None,
        ),
        sequence_length=length,
        new_pieces=new_pieces,
    )
