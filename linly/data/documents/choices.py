"""Choices of a question: reduces a long list in a prompt to a few and the answer.

Some questions of pCLUE have up to 119 labels to choose from, hundreds of characters repeated in
every such prompt. Linly's preparation keeps 4 to 8 of them, drawn at random, and the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MOST = 8
"""Maximum length of a list that is kept unchanged."""

FEWEST = 4
_SEPARATORS = ("，", ",", "、", "；", ";", "/", "\n")


def fewer_choices(prompt: str, choices: Sequence[str], answer: str) -> str:
    """Reduce the list of choices in a prompt to `FEWEST` to `MOST` of them and the answer.

    The choices keep their order; an answer that is not among them is inserted at a random position.
    All draws are hashes of prompt and answer, so they are the same in every epoch.

    Args:
        prompt: Text that lists the choices with one separator between them; otherwise unchanged.
        choices: Choices as in the record; up to `MOST` are kept unchanged.
        answer: Answer, always kept.
    """
    if len(choices) <= MOST:
        return prompt
    named = (separator.join(choices) for separator in _SEPARATORS)
    separators = [s for s, row in zip(_SEPARATORS, named, strict=True) if row in prompt]
    if not separators:
        return prompt
    separator = separators[0]
    draw = _draw(prompt, answer)
    others = dict.fromkeys(choice for choice in choices if choice != answer)
    drawn = sorted(others, key=lambda choice: _draw(prompt, answer, choice))
    few = set(drawn[: FEWEST + draw % (MOST - FEWEST + 1)])
    kept = [choice for choice in dict.fromkeys(choices) if choice in few or choice == answer]
    if answer not in kept:
        kept.insert((draw >> 8) % (len(kept) + 1), answer)
    return prompt.replace(separator.join(choices), separator.join(kept))


def _draw(*texts: str) -> int:
    """A number that depends only on the texts; no text contains NUL."""
    data = "\0".join(texts).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
