"""`linly model`: a new model, and a model grown to a larger vocabulary."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.model_options import model_option, vocabulary_option
from linly.cli.numbers import MAX_SEED, finite

if TYPE_CHECKING:
    from linly.modeling.embeddings import ExtendReport
    from linly.tokenization.tokenizer import Tokenizer

Output = Annotated[Path, typer.Option(help="New folder; appears complete or not at all.")]


class InitName(str, Enum):
    """Initial values of new rows."""

    mean_of_subtokens = "mean-of-subtokens"
    global_mean = "global-mean"
    normal = "normal"


def register(app: typer.Typer) -> None:
    """Add `linly model ...`."""
    model = typer.Typer(no_args_is_help=True, help="Create models and extend their vocabulary.")
    model.command("init")(init)
    model.command("extend")(extend)
    app.add_typer(model, name="model")


def init(
    config: Annotated[
        str, typer.Option(help="Size: nano, tiny, small, medium, 125m, 1b, 7b, 13b.")
    ],
    tokenizer: Annotated[Path, vocabulary_option("A .model file or a model folder.")],
    output: Output,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random weights.")] = 0,
) -> None:
    """Create a new Llama with random weights."""
    from transformers.utils.logging import disable_progress_bar

    from linly.modeling.load_model import init_model, save_model
    from linly.modeling.stored.folder import new_folder
    from linly.tokenization.load_tokenizer import load_tokenizer

    disable_progress_bar()  # type: ignore[no-untyped-call]
    vocabulary = load_tokenizer(tokenizer)
    model = init_model(config, vocabulary, seed=seed)
    with new_folder(output) as folder:
        exported = save_model(model, vocabulary, folder)
    print(
        f"{config}: {model.num_parameters():,} parameters, {vocabulary.vocab_size:,} pieces: "
        f"{output}"
    )
    if exported.reason:
        print(f"no tokenizer.json: {exported.reason}")


def extend(
    model: Annotated[Path, model_option("Model with safetensors.")],
    tokenizer: Annotated[Path, vocabulary_option("The extended vocabulary.")],
    output: Output,
    base_tokenizer: Annotated[
        Path | None, vocabulary_option("The model's own vocabulary, if its folder has none.")
    ] = None,
    init: Annotated[
        InitName, typer.Option(help="Initial values of new rows.")
    ] = InitName.mean_of_subtokens,
    multiple: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Pad the vocabulary to a multiple of this.")
    ] = 1,
    noise: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            callback=finite,
            help="Noise that separates equal rows, as a fraction of a row's deviation.",
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of noise and normal rows.")
    ] = 0,
) -> None:
    """Add rows to a model for the new pieces of its vocabulary."""
    from linly.modeling.embeddings import Init, extend_model
    from linly.tokenization.load_tokenizer import load_tokenizer

    vocabulary = load_tokenizer(tokenizer)
    report = extend_model(
        model,
        vocabulary,
        output,
        base=load_tokenizer(base_tokenizer) if base_tokenizer else None,
        init=Init(init.value),
        multiple=multiple,
        noise=noise,
        seed=seed,
    )
    _print(report, vocabulary, output)


def _print(report: ExtendReport, tokenizer: Tokenizer, output: Path) -> None:
    print(
        f"{report.old_rows:,} -> {report.new_rows:,} rows ({report.num_added:,} new pieces, "
        f"{report.num_padding:,} padding) in {', '.join(report.matrices)}: {output}"
    )
    for note in report.notes:
        print(f"  {note}")
    for count, pieces in report.subtoken_counts.items():
        print(f"  {pieces:,} new pieces of {count} sub-tokens")
    if report.identical:
        first = ", ".join(tokenizer.readable(token) for token in report.identical[0])
        num_rows = sum(map(len, report.identical))
        print(
            f"  groups of equal rows: {len(report.identical):,}, {num_rows:,} pieces together; "
            f"the first is {first}"
        )
    if report.tokenizer.reason:
        print(f"no tokenizer.json: {report.tokenizer.reason}")
