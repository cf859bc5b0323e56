"""Start of a run in this process: lock, check, begin or resume, build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from linly.config.recipe import Recipe
from linly.curriculum.run_plan import Batch
from linly.data.loading.ranks import check_world_size
from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.loop.build import Components, build
from linly.training.loop.checked_model import with_fetched_model
from linly.training.loop.start_checks import Launch, check_start
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
    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, processes.world_size)  # before a download, and any collective
    recipe = with_fetched_model(recipe, processes)

    def find_checkpoint() -> Path | None:
        return checkpoints.newest() if resume_step is None else checkpoints.of_step(resume_step)

    launch = Launch(
        recipe,
        run,
        processes,
        world_size=processes.world_size,
        has_gpu=processes.device.type == "cuda",
        resume_step=resume_step,
        find_checkpoint=find_checkpoint,
    )
    checkpoints = Checkpoints(
        run.checkpoints, processes, recipe.checkpoint, launch.mirror, check_lock=run.check_lock
    )
    check_start(launch)
    resumption = launch.resumption
    start = begin(launch) if resumption is None else resume(launch, resumption, checkpoints)
    return build(launch, start, checkpoints, is_quiet=is_quiet)
