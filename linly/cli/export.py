"""`linly export`: checkpoints of a run as a model folder that plain transformers loads."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from linly.export.model_export import Exported


class GgufName(str, Enum):
    """Types of a GGUF file's matrices."""

    f16 = "f16"
    q8_0 = "q8_0"


RunArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN[@STEP[:WEIGHT],...]...",
        help="Run folder: newest complete checkpoint, that of a step, or the mean of several, also "
        "of several runs. Weights add up to 1.",
    ),
]
Average = Annotated[
    bool,
    typer.Option(
        "--average", help="Take the weights that training.average kept, not the last ones."
    ),
]
Push = Annotated[
    str | None,
    typer.Option(
        metavar="ORG/NAME",
        help="Also upload the folder to this repository on the Hugging Face hub.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    runs: RunArguments,
    output: Annotated[Path, typer.Option(help="Output folder; must be missing or empty.")],
    average: Average = False,
    dtype: Annotated[str, typer.Option(help="Type of the weights: bf16, fp16 or fp32.")] = "bf16",
    shard_size: Annotated[
        str, typer.Option(help="Largest size of a file; larger models are split.")
    ] = "5GB",
    gguf: Annotated[
        list[GgufName] | None,
        typer.Option(help="Also write a GGUF file of this type, and a Modelfile; repeatable."),
    ] = None,
    license: Annotated[
        str,
        typer.Option(help="License of the model, as the hub names it: apache-2.0, llama2, ..."),
    ] = "other",
    push: Push = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make the repository public (default: private).")
    ] = False,
) -> None:
    """Write weights, configuration, tokenizer and a model card.

    The folder appears complete or not at all. LoRA is merged into the base weights.
    """
    from transformers.utils.logging import disable_progress_bar

    from linly import api
    from linly.export.hub_upload import HubUpload

    disable_progress_bar()  # type: ignore[no-untyped-call]
    upload = None if push is None else HubUpload.checked(push, is_public=public)
    exported = api.export_run(
        runs,
        output,
        average=average,
        dtype=dtype,
        shard_size=shard_size,
        gguf=[kind.value for kind in gguf or []],
        license=license,
        repository=push,
    )
    _print(exported, output, dtype)
    if upload is not None:
        print(f"uploaded: {upload.send(output)}")


def _print(exported: Exported, output: Path, dtype: str) -> None:
    from linly.export.run_checkpoints import mean_title

    print(
        f"{output}: {mean_title(exported.parts)}, {exported.num_parameters:,} parameters, {dtype}"
    )
    for file in exported.gguf_files:
        print(f"{output / file}")
    for note in exported.notes:
        print(note)
    if not exported.tokenizer.exact:
        print(f"no exact tokenizer.json: {exported.tokenizer.reason}; use linly's own tokenizer")
