"""`linly train`: train a recipe, or go on where its run stopped."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from linly.config.recipe import Recipe


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Over the recipe's own.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="step-N",
            help="Go back to this checkpoint; later ones are set aside. "
            "Without it the newest whole one is resumed.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print warnings and the summary alone.")
    ] = False,
    print_deepspeed_config: Annotated[
        bool,
        typer.Option(
            "--print-deepspeed-config",
            help="Print what DeepSpeed would be given on WORLD_SIZE ranks (1), and train nothing.",
        ),
    ] = False,
    local_rank: Annotated[
        int | None,
        typer.Option("--local_rank", "--local-rank", hidden=True, help="Set by launchers."),
    ] = None,
) -> None:
    """Train a recipe; the same command resumes it.

    Started by `deepspeed launch/train.py`, `torchrun launch/train.py` or `srun`, all processes
    train together; by itself it trains in one process. Exit code 75: stopped by SIGTERM with a
    checkpoint saved.
    """
    from linly.config.recipe import load_recipe
    from linly.training.ranks.processes import start_processes, stop_processes

    loaded = load_recipe(recipe, overrides or [])
    if print_deepspeed_config:
        _print_deepspeed_config(loaded)
        return
    processes = start_processes(loaded.training.collective_timeout_s)
    from linly.training.checkpoints.manifest import parse_step
    from linly.training.loop.trainer import train as train_recipe
    from linly.training.ranks.preemption import EXIT_CODE

    resume_step = None if resume is None else parse_step(resume)
    outcome = train_recipe(loaded, processes, resume_step=resume_step, is_quiet=quiet)
    if processes.is_first:
        print(outcome.summary)
        print(_report_line(loaded.run))
        if outcome.exhausted is not None:
            print(f"ended early: {outcome.exhausted}")
        if outcome.is_complete:
            run = _short(loaded.run)
            print(f"export: linly export {shlex.quote(run)} --output models/{loaded.run.name}")
        else:
            words = ["linly", "train", str(recipe), *(overrides or [])]
            kept = [word for word in words if not word.startswith("stop_at_step=")]
            print(f"continue: {shlex.join(kept)}   (or the launcher's command, unchanged)")
    processes.barrier()  # launchers end all ranks when the first is gone
    stop_processes()
    _leave(EXIT_CODE if outcome.is_preempted else 0)


def _print_deepspeed_config(recipe: Recipe) -> None:
    """Print the JSON that DeepSpeed is given, the recipe's own file merged in."""
    import orjson
    import torch

    from linly.config.deepspeed import settings_deepspeed_config
    from linly.curriculum.plan import Batch
    from linly.data.loading.ranks import check_world_size

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, world_size)  # DeepSpeed is not loaded: it prints, too
    config = settings_deepspeed_config(
        recipe.training, recipe.data, world_size=world_size, has_gpu=torch.cuda.is_available()
    )
    typer.echo(orjson.dumps(config, option=orjson.OPT_INDENT_2).decode())


def _leave(code: int) -> NoReturn:
    """End the process without tearing its libraries down.

    All files are closed by now. Native threads were seen to abort that teardown ("terminate
    called without an active exception") after a run that went well, and a launcher takes this for
    a failure.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _report_line(run: Path) -> str:
    """Write the report and say where; a training node may lack what draws it, or have no room."""
    try:
        from linly.monitor.pages.report import write_report
    except ModuleNotFoundError as error:
        return (
            f"report: none, {str(error.name).split('.')[0]} is not installed here; "
            f"linly report {shlex.quote(_short(run))} where linly[monitor] is"
        )
    try:
        return f"report: {_short(write_report(run))}"
    except OSError as error:  # the run is trained and saved all the same
        return f"report: none, {error}; linly report {shlex.quote(_short(run))} --output FILE"


def _short(path: Path) -> str:
    """Relative to the working directory when it lies in it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if here in path.absolute().parents else str(path)
