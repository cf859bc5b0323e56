"""Start of a run in this process: lock, check, begin or resume, build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from linly.config.deepspeed import settings_deepspeed_config
from linly.config.recipe import Recipe
from linly.curriculum.run_plan import Batch
from linly.data.loading.ranks import check_world_size
from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.mirror import Mirror
from linly.training.loop.build import Components, build
from linly.training.loop.checked_model import check_model, with_fetched_model
from linly.training.loop.starting_point import begin, resume
from linly.training.ranks.processes import Processes


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
    recipe: Recipe,
    run: RunFolder,
    processes: Processes,
    *,
    resume_step: int | None,
    is_quiet: bool = False,
) -> Components:
    """Check the recipe, begin or resume its run, and build the run's objects; a collective.

    Args:
        recipe: Recipe of the run.
        run: Locked folder of the run.
        processes: Processes of the run.
        resume_step: Step of the checkpoint to resume; None for the newest complete one.
        is_quiet: Whether to show warnings only.

    Raises:
        LinlyError: If the world size, vocabulary, recipe, checkpoint or data does not fit.
    """
    _check_settings(recipe, processes)
    recipe = with_fetched_model(recipe, processes)
    model = check_model(recipe, processes)
    mirror = _open_mirror(recipe, run, processes)
    checkpoints = Checkpoints(
        run.checkpoints, processes, recipe.checkpoint, mirror, check_lock=run.check_lock
    )
    folder = checkpoints.newest() if resume_step is None else checkpoints.of_step(resume_step)
    if folder is None:
        start = begin(recipe, run, model, processes)
    else:
        is_asked_for = resume_step is not None
        start = resume(
            recipe, run, model, processes, checkpoints, folder, is_asked_for=is_asked_for
        )
    return build(start, run, model, processes, checkpoints, is_quiet=is_quiet)


def _check_settings(recipe: Recipe, processes: Processes) -> None:
    """Refuse settings that conflict with each other or with the world size."""
    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, processes.world_size)
    settings_deepspeed_config(
        recipe.training,
        recipe.data,
        world_size=processes.world_size,
        has_gpu=processes.device.type == "cuda",
    )


def _open_mirror(recipe: Recipe, run: RunFolder, processes: Processes) -> Mirror | None:
    mirror = None
    with processes.together("opening the mirror"):
        if processes.is_first and recipe.checkpoint.mirror is not None:
            mirror = Mirror(run.path, recipe.checkpoint.mirror, run.check_lock)
            mirror.refuse_another_run()
    return mirror
