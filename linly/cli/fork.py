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
    decay: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENS",
            help="End the new run with a decay of the learning rate over this many tokens: 500M.",
        ),
    ] = None,
) -> None:
    """Start a new run from a checkpoint; the first run is unchanged, and may be training.

    The new run has the same history: records, decisions, shard lists. `linly train RECIPE run=NEW`
    continues it, row for row as the first run would. Skipped steps count as steps: each step keeps
    its number, its rows and its learning rate in both runs.

    With --decay the new run is an annealing branch: its rate falls to `final_lr`, in the recipe's
    `decay_form`, and the run ends there. The first run needs a stable rate: `schedule: wsd` before
    its decay, constant, or inverse-sqrt.
    """
    from linly.cli.amend import show
    from linly.config.curriculum import load_curriculum
    from linly.curriculum.learning_rate import LearningRate
    from linly.runs.runs import RunFolder
    from linly.training.changes.forked_run import fork_run
    from linly.training.checkpoints.manifest import parse_step

    at, amendment = fork_run(
        RunFolder.open(run),
        target,
        step=parse_step(step),
        curriculum=None if curriculum is None else load_curriculum(curriculum),
        skip_steps=[_steps(text) for text in skip_steps or ()],
        decay=None if decay is None else _tokens(decay),
    )
    if amendment is not None:
        show(amendment)
    if decay is not None:
        recipe = at.recipe if amendment is None else amendment.recipe
        rate = LearningRate.from_recipe(recipe)
        first, last = rate.at(at.step), rate.at(recipe.num_steps)
        typer.echo(
            f"the learning rate falls from {first:.3g} to {last:.3g}, and the run ends after step "
            f"{recipe.num_steps:,}: linly plan {target}/recipe.yaml"
        )
    typer.echo(f"{target} continues step {at.step} of {run}: linly train RECIPE run={target}")


def _steps(text: str) -> tuple[int, int]:
    found = _STEPS.fullmatch(text)
    if found is None:
        raise ConfigError(f"--skip-steps: found {text!r}, allowed: A-B such as 120-130, or a step")
    return int(found[1]), int(found[2] or found[1])


def _tokens(text: str) -> int:
    from linly.config.yaml.quantities import TOKENS_FORM, parse_tokens

    try:
        return parse_tokens(text)
    except ValueError:
        raise ConfigError(f"--decay: found {text!r}, allowed: {TOKENS_FORM}") from None
