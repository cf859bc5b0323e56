"""`linly train`: train a recipe, or resume its run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from linly.config.recipe import Recipe
    from linly.training.loop.trainer import Outcome


Resume = Annotated[
    str | None,
    typer.Option(
        metavar="step-N",
        help="Checkpoint to resume from (default: the newest complete one); later ones are set "
        "aside.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only warnings and the summary.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override recipe values.")
    ] = None,
    resume: Resume = None,
    quiet: Quiet = False,
    print_deepspeed_config: Annotated[
        bool,
        typer.Option(
            "--print-deepspeed-config",
            help="Print DeepSpeed's configuration for WORLD_SIZE ranks (default: 1) and exit.",
        ),
    ] = False,
    local_rank: Annotated[
        int | None,
        typer.Option("--local_rank", "--local-rank", hidden=True, help="Set by launchers."),
    ] = None,
) -> None:
    """Train a recipe; the same command resumes it.

    By itself it trains in one process, and under `srun` or `torchrun -m linly.launch` in several.
    `linly launch` starts several by itself. Exit code 75: stopped by SIGTERM, with a checkpoint
    saved.
    """
    from linly import api
    from linly.training.ranks.launcher import first_rank_reports

    words = ["linly", "train", str(recipe), *(overrides or [])]
    with first_rank_reports():
        loaded = api.load_recipe(recipe, overrides or [])
        if print_deepspeed_config:
            _print_deepspeed_config(loaded)
            return
        resume_step = None if resume is None else _step(resume)
        outcome = api.train(
            loaded,
            resume_step=resume_step,
            is_quiet=quiet,
            on_end=lambda outcome: _print_end(loaded, outcome, words),
        )
    _leave(outcome)


def _step(text: str) -> int:
    from linly.training.checkpoints.manifest import parse_step

    return parse_step(text)


def _print_end(recipe: Recipe, outcome: Outcome, words: Sequence[str]) -> None:
    """Print the result of this launch, and the command that follows it.

    Args:
        recipe: Recipe of the run.
        outcome: Result of this launch.
        words: Command that trains the recipe.
    """
    run = _short(recipe.run)
    print(f"run {run}: {outcome.ending}")
    print(outcome.summary)
    print(_report_line(recipe.run))
    if outcome.is_complete:
        print(f"export: linly export {shlex.quote(run)} --output models/{recipe.run.name}")
    else:
        kept = [word for word in words if not word.startswith("stop_at_step=")]
        print(f"continue: {shlex.join(kept)}   (or the launcher's command, unchanged)")


def _print_deepspeed_config(recipe: Recipe) -> None:
    """Print DeepSpeed's configuration as JSON, with the recipe's own file merged in."""
    import orjson
    import torch

    from linly.config.deepspeed import settings_deepspeed_config
    from linly.curriculum.run_plan import Batch
    from linly.data.loading.ranks import check_world_size

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, world_size)  # DeepSpeed is not loaded, since it prints too
    config = settings_deepspeed_config(
        recipe.training, recipe.data, world_size=world_size, has_gpu=torch.cuda.is_available()
    )
    typer.echo(orjson.dumps(config, option=orjson.OPT_INDENT_2).decode())


def _leave(outcome: Outcome) -> NoReturn:
    """End the process without tearing down its libraries.

    All files are closed by now. Native threads were seen to abort the teardown ("terminate called
    without an active exception") after a successful run, which a launcher treats as a failure.
    """
    from linly.training.ranks.preemption import EXIT_CODE
    from linly.training.ranks.processes import stop_processes

    stop_processes()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE if outcome.is_preempted else 0)


def _report_line(run: Path) -> str:
    """Write the report and return its place; a node may lack the packages or the disk space."""
    try:
        from linly.monitor.pages.run_report import write_report
    except ModuleNotFoundError as error:
        return (
            f"report: none, {str(error.name).split('.')[0]} is not installed here; run "
            f"linly report {shlex.quote(_short(run))} where linly[monitor] is installed"
        )
    try:
        return f"report: {_short(write_report(run))}"
    except OSError as error:  # the run is trained and saved in any case
        return f"report: none, {error}; linly report {shlex.quote(_short(run))} --output FILE"


def _short(path: Path) -> str:
    """Return a path relative to the working directory if it is inside it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if here in path.absolute().parents else str(path)
