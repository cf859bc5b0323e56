"""`linly chat`: a conversation with a model in its own chat template."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from linly.cli.generate import (
    MaxNewTokens,
    ModelOrRun,
    RepetitionPenalty,
    SamplingSeed,
    Temperature,
    TopK,
    TopP,
)
from linly.errors import ConfigError

RESET = "/reset"
_PROMPT = "> "


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chat")(chat)


def chat(
    model: ModelOrRun,
    system: Annotated[
        str | None, typer.Option(help="System prompt, if the chat template has one.")
    ] = None,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 1.0,
    top_k: TopK = 10,
    top_p: TopP = 0.85,
    repetition_penalty: RepetitionPenalty = 1.15,
    seed: SamplingSeed = 0,
) -> None:
    """Talk to a model in its chat template; each line is a turn, and the model knows those before.

    /reset begins a new conversation, and the end of the input (Ctrl-D) ends the program. Lines from
    a pipe are answered one after another.
    """
    from transformers.utils.logging import disable_progress_bar

    from linly.export.chat_session import ChatSession
    from linly.export.generation import Sampling, open_model

    disable_progress_bar()  # type: ignore[no-untyped-call]
    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed)
    session = ChatSession(open_model(model), sampling, system=system)
    is_typed = sys.stdin.isatty()
    while True:
        try:
            line = input(_PROMPT if is_typed else "")
        except EOFError:
            break
        if line.strip() == RESET:
            session.reset()
            typer.echo("(new conversation)")
        elif line.strip():
            try:
                session.answer(line, lambda piece: typer.echo(piece, nl=False))
                typer.echo()
            except ConfigError as error:
                if not is_typed:
                    raise
                typer.echo(f"error: {error}; {RESET} begins a new conversation", err=True)
