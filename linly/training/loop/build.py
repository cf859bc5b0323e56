"""The objects of a run: engine, evaluator, state, recorder, saver, built at its starting point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers.utils.logging import disable_progress_bar

from linly.config.recipe import Recipe
from linly.curriculum.timeline import Timeline
from linly.data.loading.loader import Loader
from linly.data.loading.stream import stream_plan
from linly.evaluation.evaluation import Evaluator, prepare_held_out
from linly.evaluation.tasks.task_evaluator import TaskEvaluator
from linly.evaluation.weight_drift import WeightDrift, drift_notice
from linly.modeling.attention.separation import row_layout
from linly.modeling.load_model import load_exactly
from linly.modeling.trainable import make_trainable
from linly.runs.runs import RunFolder
from linly.tokenization.tokenizer import Tokenizer
from linly.training.changes.pinned_inputs import read_held_out, read_later_lists, read_shards
from linly.training.changes.resumption import SavedState
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.engine.engine import Engine
from linly.training.engine.flops import flops_per_token, peak_flops
from linly.training.engine.randomness import seed_random_states
from linly.training.loop.checked_model import CheckedModel
from linly.training.loop.saving import Saver
from linly.training.loop.start_checks import Launch
from linly.training.loop.starting_point import StartingPoint
from linly.training.loop.training_phases import apply_phase
from linly.training.loop.training_state import TrainingState
from linly.training.ranks.processes import Processes
from linly.training.recording.guards import Guards
from linly.training.recording.new_pieces import NewPieces
from linly.training.recording.recorder import Recorder
from linly.training.recording.run_counts import Machine, RunCounts


@dataclass(frozen=True, slots=True)
class Components:
    """The objects of a run in one process.

    Attributes:
        recipe: Recipe with the curriculum in force.
        choices: Description of what each phase trains; empty if all parameters train throughout.
        data_state: State of the loader at which the stream of rows resumes; None at a fresh start.
    """

    recipe: Recipe
    run: RunFolder
    processes: Processes
    tokenizer: Tokenizer
    engine: Engine
    evaluator: Evaluator
    task_evaluator: TaskEvaluator
    weight_drift: WeightDrift | None
    state: TrainingState
    recorder: Recorder
    saver: Saver
    choices: tuple[str, ...]
    data_state: dict[str, Any] | None


def build(
    launch: Launch, start: StartingPoint, checkpoints: Checkpoints, *, is_quiet: bool
) -> Components:
    """Build the objects of a run at its starting point; a collective.

    Args:
        launch: Checked launch; the records of its run folder are at the starting point.
        start: Starting point.
        checkpoints: Checkpoints of the run.
        is_quiet: Whether to show warnings only.
    """
    recipe, run, model, processes = start.recipe, launch.run, launch.model, launch.processes
    engine = _build_engine(recipe, model, processes)
    engine.keep_average(recipe.training, num_steps=recipe.num_steps)
    seed_random_states(recipe.data.seed, rank=processes.rank)
    new_pieces = NewPieces.of_model(model.path, model.tokenizer)
    counts = _build_counts(start.timeline, engine, processes, new_pieces)
    state = TrainingState(start.timeline, Guards(recipe.guards), counts)
    notices = list(start.notices)
    if start.saved is not None:
        notices += _restore(start.saved, checkpoints, engine, state)
    apply_phase(recipe, engine, state)
    recorder = Recorder(run, recipe, processes, step=state.step, is_quiet=is_quiet)
    if start.saved is not None:
        recorder.resumed(map(str, start.changes))
    recorder.notices(notices)
    recorder.model(model.parameters, "; ".join((*model.choices, engine.description)))
    saver = Saver(
        checkpoints,
        recorder,
        processes,
        recipe=recipe,
        model=launch.identity,
        saved_step=state.step,
    )
    return Components(
        recipe=recipe,
        run=run,
        processes=processes,
        tokenizer=model.tokenizer,
        engine=engine,
        evaluator=_build_evaluator(start, run, model.tokenizer, engine, processes),
        task_evaluator=_build_task_evaluator(launch, engine),
        weight_drift=_build_drift(launch, engine, recorder),
        state=state,
        recorder=recorder,
        saver=saver,
        choices=model.choices,
        data_state=None if start.saved is None else start.saved.content["data"],
    )


def open_loader(parts: Components) -> Loader:
    """Open the stream of rows at the starting point; the producers start immediately."""
    recipe, run, timeline = parts.recipe, parts.run, parts.state.timeline
    shards = read_shards(run, timeline.sources)
    later = read_later_lists(run, timeline)
    return Loader(
        stream_plan(recipe, run.path / "model", shards, timeline, later),
        settings=recipe.data,
        micro_batch=recipe.training.micro_batch,
        world_size=parts.processes.world_size,
        rank=parts.processes.rank,
        state=parts.data_state,
    )


def _restore(
    saved: SavedState, checkpoints: Checkpoints, engine: Engine, state: TrainingState
) -> list[str]:
    """Load a checkpoint into the engine and the state; a collective.

    Returns:
        Notices about the averaged weights.
    """
    content, notices = saved.content, []
    if engine.average is not None:
        notices = engine.average.load_state_dict(content.get("average"))
    checkpoints.load(
        saved.folder,
        engine,
        optimizer_steps=content["optimizer_steps"],
        part_steps=content.get("part_steps"),
    )
    state.load_state_dict(content)
    return notices


def _build_engine(recipe: Recipe, checked: CheckedModel, processes: Processes) -> Engine:
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with processes.together(f"loading model {checked.path}"):
        model = load_exactly(checked.stored)
        make_trainable(model, recipe.training.optimized, seed=recipe.data.seed)
    rows_at_once = processes.world_size * recipe.training.micro_batch
    accumulation = recipe.data.global_batch // rows_at_once
    with processes.waiting("distributing the model over the ranks"):
        layout = row_layout(recipe)
        return Engine(
            model,
            recipe.training,
            accumulation=accumulation,
            layout=layout,
            new_rows=checked.new_rows,
        )


def _build_evaluator(
    start: StartingPoint,
    run: RunFolder,
    tokenizer: Tokenizer,
    engine: Engine,
    processes: Processes,
) -> Evaluator:
    """Evaluator of every source of the run so far, also of those that an amendment dropped."""
    timeline = start.timeline
    documents = read_held_out(run, timeline.sources)
    return Evaluator(
        prepare_held_out(timeline, documents, tokenizer),
        processes,
        sequence_length=timeline.sequence_length,
        batch_rows=start.recipe.training.micro_batch,
        way=engine.evaluation_way,
    )


def _build_task_evaluator(launch: Launch, engine: Engine) -> TaskEvaluator:
    return TaskEvaluator(
        launch.tasks,
        launch.processes,
        sequence_length=launch.recipe.data.sequence_length,
        batch_rows=launch.recipe.training.micro_batch,
        way=engine.evaluation_way,
    )


def _build_drift(launch: Launch, engine: Engine, recorder: Recorder) -> WeightDrift | None:
    """Comparison with the model folder; None if the recipe wants none, or LoRA freezes it."""
    recipe, stored = launch.recipe, launch.model.stored
    if not recipe.evaluation.weight_drift or recipe.training.trainable.kind == "lora":
        return None
    drift = None
    with launch.processes.together("opening the model folder"):
        drift = WeightDrift(engine, stored, launch.processes)
    if drift is not None:
        recorder.notices(drift_notice(drift, stored))
    return drift


def _build_counts(
    timeline: Timeline, engine: Engine, processes: Processes, new_pieces: NewPieces | None
) -> RunCounts:
    peak = peak_flops(processes.device)
    length = timeline.sequence_length
    return RunCounts(
        {name for phase in timeline.phases for name in phase.mixture.sources},
        Machine(
            flops_per_token(engine.module, sequence_length=length),
            peak * processes.world_size if peak else None,
        ),
        sequence_length=length,
        new_pieces=new_pieces,
    )
