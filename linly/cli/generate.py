"""`linly generate`: a model's completion of a prompt."""

from __future__ import annotations

from typing import Annotated

import typer

from linly.cli.numbers import MAX_SEED, finite


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("generate")(generate)


def generate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|RUN[@STEP,...]", help="Model folder or run folder.")
    ],
    prompt: Annotated[list[str], typer.Option(help="Prompt to complete; repeatable.")],
    template: Annotated[
        str,
        typer.Option(
            help="Prompt's template: text, alpaca, alpaca-no-input, linly, or the model's: chat."
        ),
    ] = "text",
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Largest number of tokens to generate.")
    ] = 256,
    temperature: Annotated[
        float,
        typer.Option(min=0, max=1e3, callback=finite, help="0 is greedy decoding."),
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option(min=0, max=1 << 31, help="Sample from this many likeliest tokens; 0 is all."),
    ] = 10,
    top_p: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            callback=finite,
            help="Cumulative probability of the tokens to sample from.",
        ),
    ] = 0.85,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            min=0.1, max=1e3, callback=finite, help="Penalty for repeated tokens; 1 is none."
        ),
    ] = 1.15,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the sampling.")] = 0,
) -> None:
    """Print a model's completion of each prompt; the defaults are those of the Linly models."""
    from transformers.utils.logging import disable_progress_bar

    from linly.export.generation import Sampling, generate_texts, open_model

    disable_progress_bar()  # type: ignore[no-untyped-call]
    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed)
    for text in generate_texts(open_model(model), prompt, template=template, sampling=sampling):
        print(text)
