"""`linly export`: checkpoints of a run as a model folder that plain transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN[@STEP,...]",
            help="Run folder: newest complete checkpoint, that of a step, or the mean of several.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Output folder; must be missing or empty.")],
    dtype: Annotated[str, typer.Option(help="Type of the weights: bf16, fp16 or fp32.")] = "bf16",
    shard_size: Annotated[
        str, typer.Option(help="Largest size of a file; larger models are split.")
    ] = "5GB",
) -> None:
    """Write weights, configuration, tokenizer and a model card.

    The folder appears complete or not at all. LoRA is merged into the base weights.
    """
    from transformers.utils.logging import disable_progress_bar

    from linly import api

    disable_progress_bar()  # type: ignore[no-untyped-call]
    exported = api.export(run, output, dtype=dtype, shard_size=shard_size)
    taken = ", ".join(map(str, exported.steps))
    what = f"step {taken}" if len(exported.steps) == 1 else f"mean of steps {taken}"
    print(f"{output}: {what}, {exported.num_parameters:,} parameters, {dtype}")
    for note in exported.notes:
        print(note)
    if not exported.tokenizer.exact:
        print(f"no exact tokenizer.json: {exported.tokenizer.reason}; use linly's own tokenizer")
