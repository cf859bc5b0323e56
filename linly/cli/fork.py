"""`linly fork`: a new run from a checkpoint of another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from linly.errors import ConfigError

_STEPS = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fork")(fork)


def fork(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder to start from.")],
    step: Annotated[
        str, typer.Option(metavar="N", help="Step of the checkpoint: 200 or step-200.")
    ],
    target: Annotated[Path, typer.Option("--run", metavar="NEW", help="Folder of the new run.")],
    curriculum: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Curriculum to continue with.")
    ] = None,
    skip_steps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="Steps to skip: their rows are consumed but not trained on; repeatable.",
        ),
    ] = None,
) -> None:
    """Start a new run from a checkpoint; the first run is unchanged, and may be training.

    The new run has the same history: records, decisions, shard lists. `linly train RECIPE run=NEW`
    continues it, row for row as the first run would. Skipped steps count as steps: each step keeps
    its number, its rows and its learning rate in both runs.
    """
    from linly.cli.amend import show
    from linly.config.curriculum import load_curriculum
    from linly.runs.runs import RunFolder
    from linly.training.changes.forked_run import fork_run
    from linly.training.checkpoints.manifest import parse_step

    at, amendment = fork_run(
        RunFolder.open(run),
        target,
        step=parse_step(step),
        curriculum=None if curriculum is None else load_curriculum(curriculum),
        skip_steps=[_steps(text) for text in skip_steps or ()],
    )
    if amendment is not None:
        show(amendment)
    typer.echo(f"{target} continues step {at.step} of {run}: linly train RECIPE run={target}")


def _steps(text: str) -> tuple[int, int]:
    found = _STEPS.fullmatch(text)
    if found is None:
        raise ConfigError(f"--skip-steps: found {text!r}, allowed: A-B such as 120-130, or a step")
    return int(found[1]), int(found[2] or found[1])
