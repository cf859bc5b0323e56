"""`linly restore`: restore a run from its mirror."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restore")(restore)


def restore(
    mirror: Annotated[
        str,
        typer.Argument(
            metavar="MIRROR", help="Folder or s3:// URL of the mirror: checkpoint.mirror/NAME."
        ),
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder to create.")],
    step: Annotated[
        str | None,
        typer.Option(
            metavar="step-N", help="Checkpoint to restore (default: the newest complete one)."
        ),
    ] = None,
) -> None:
    """Restore a run from the mirror that checkpoint.mirror wrote.

    Every record is read, and every file of the checkpoint is compared with its hash. The folder
    appears complete or not at all. `linly train RECIPE run=RUN` then resumes the run.
    """
    from linly.training.checkpoints.manifest import parse_step
    from linly.training.checkpoints.restored_run import restore_run

    restored = restore_run(mirror, run, step=None if step is None else parse_step(step))
    typer.echo(f"{run}: restored from {mirror} at step {restored}")
    typer.echo(f"continue: linly train RECIPE {shlex.quote(f'run={run}')}")
