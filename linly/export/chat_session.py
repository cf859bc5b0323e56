"""A conversation with a model in its own chat template: history, system prompt, streaming."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import TextStreamer

from linly.export.generation import ChatPrompts, OpenModel, Sampling, check_length, settings_of
from linly.modeling.completion import complete


class ChatSession:
    """A conversation with a model; each turn of the user is answered with the turns before it."""

    def __init__(self, opened: OpenModel, sampling: Sampling, *, system: str | None = None) -> None:
        """Start a conversation.

        Args:
            opened: Model with a chat template.
            sampling: Sampling settings; each answer continues one stream of random numbers.
            system: Text of the system turn, if any.

        Raises:
            ConfigError: If the model has no chat template, or one that cannot be used.
        """
        self._opened = opened
        self._sampling = sampling
        self._prompts = ChatPrompts(opened)
        self._system = [] if system is None else [("system", system)]
        self._turns: list[tuple[str, str]] = []
        torch.manual_seed(sampling.seed)

    @property
    def num_turns(self) -> int:
        """Number of turns so far, those of the user and of the model."""
        return len(self._turns)

    def reset(self) -> None:
        """Forget all turns except the system's."""
        self._turns.clear()

    def answer(self, text: str, write: Callable[[str], object]) -> str:
        """Answer a turn of the user; without an answer, the turn is not remembered.

        Args:
            text: Text of the turn.
            write: Receiver of the answer's pieces, as they are generated.

        Raises:
            ConfigError: If the template refuses the turns, or the conversation is too long.
        """
        turns = [*self._turns, ("user", text)]
        ids, end_id = self._prompts.ids((*self._system, *turns))
        model, tokenizer = self._opened.model, self._opened.tokenizer
        check_length(model, ids, self._sampling)
        answer = complete(
            model,
            tokenizer,
            ids,
            settings_of(self._sampling),
            end_id=end_id,
            streamer=_Pieces(tokenizer, write),
        )
        self._turns = [*turns, ("assistant", answer)]
        return answer


class _Pieces(TextStreamer):
    """Passes the text of new tokens on, whole words or characters at a time."""

    def __init__(self, tokenizer: Any, write: Callable[[str], object]) -> None:
        super().__init__(tokenizer, skip_prompt=True)  # only `decode` of it is used
        self._write = write

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self._write(text)
