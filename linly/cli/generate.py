"""`linly generate`: a model's completion of a prompt."""

from __future__ import annotations

from typing import Annotated

import typer

from linly.cli.numbers import MAX_SEED, finite

ModelOrRun = Annotated[
    str, typer.Argument(metavar="MODEL|RUN[@STEP,...]", help="Model, by path or hub id, or run.")
]
MaxNewTokens = Annotated[
    int, typer.Option(min=1, max=1 << 20, help="Largest number of tokens to generate.")
]
Temperature = Annotated[
    float, typer.Option(min=0, max=1e3, callback=finite, help="0 is greedy decoding.")
]
TopK = Annotated[
    int, typer.Option(min=0, max=1 << 31, help="Sample from this many likeliest tokens; 0 is all.")
]
TopP = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        callback=finite,
        help="Cumulative probability of the tokens to sample from.",
    ),
]
RepetitionPenalty = Annotated[
    float,
    typer.Option(min=0.1, max=1e3, callback=finite, help="Penalty for repeated tokens; 1 is none."),
]
SamplingSeed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the sampling.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("generate")(generate)


def generate(
    model: ModelOrRun,
    prompt: Annotated[list[str], typer.Option(help="Prompt to complete; repeatable.")],
    template: Annotated[
        str,
        typer.Option(
            help="Prompt's template: text, alpaca, alpaca-no-input, linly, or the model's: chat."
        ),
    ] = "text",
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 1.0,
    top_k: TopK = 10,
    top_p: TopP = 0.85,
    repetition_penalty: RepetitionPenalty = 1.15,
    seed: SamplingSeed = 0,
) -> None:
    """Print each prompt and the model's completion; the defaults are those of the Linly models."""
    from transformers.utils.logging import disable_progress_bar

    from linly.export.generation import Sampling, generate_texts, open_model

    disable_progress_bar()  # type: ignore[no-untyped-call]
    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed)
    texts = generate_texts(open_model(model), prompt, template=template, sampling=sampling)
    for asked, text in zip(prompt, texts, strict=True):
        print(f"prompt: {asked}\nanswer: {text.strip()}\n")
