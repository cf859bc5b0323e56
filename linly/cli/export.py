"""`linly export`: a checkpoint as a model folder that plain transformers loads."""

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
        typer.Argument(metavar="RUN[@STEP]", help="Run folder; its newest whole checkpoint."),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.")],
    dtype: Annotated[str, typer.Option(help="bf16, fp16 or fp32.")] = "bf16",
) -> None:
    """Write weights, configuration, tokenizer and a model card."""
    from transformers.utils.logging import disable_progress_bar

    from linly.training.export import export_run, parse_run

    disable_progress_bar()  # type: ignore[no-untyped-call]
    folder, step = parse_run(run)
    exported = export_run(folder, step=step, output=output, dtype=dtype)
    print(f"{output}: step {exported.step}, {exported.num_parameters:,} parameters, {dtype}")
    if not exported.tokenizer.exact:
        print(f"no tokenizer.json: {exported.tokenizer.reason}; use its tokenizer.model")
