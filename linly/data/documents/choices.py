"""Choices of a question: of a long list that its prompt names, a few and the answer.

pCLUE asks some questions with up to 119 labels to choose from, hundreds of characters that every
such prompt repeats. Linly's preparation keeps 4 to 8 of them, drawn at random, and the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MOST = 8
"""So many choices stay as they are."""

FEWEST = 4
_SEPARATORS = ("，", ",", "、", "；", ";", "/", "\n")


def fewer_choices(prompt: str, choices: Sequence[str], answer: str) -> str:
    """Cut the choices that a prompt names in a row to `FEWEST` to `MOST` and the answer.

    They stay in their order; an answer that is not among them comes to a place that the draw
    tells. It is drawn by the hash of prompt and answer, so that it is the same in every epoch.

    Args:
        prompt: Names the choices with one separator between them; any other stays as it is.
        choices: As the record lists them; up to `MOST` stay.
        answer: That stays whatever is drawn.
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
    """A number that depends on the texts alone; no text holds NUL."""
    data = "\0".join(texts).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
