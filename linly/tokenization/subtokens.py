"""Sub-tokens of the pieces of an extended vocabulary in the one it was extended from."""

from __future__ import annotations

from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer

SubTokens = tuple[int, ...]


def added_subtokens(old: Tokenizer, new: Tokenizer) -> list[SubTokens]:
    """Ids of the old vocabulary that each added piece is split into, without the dummy prefix.

    Ids are sorted: their order does not matter for a mean, and equal sets give bitwise equal rows.
    A piece that text never produces (a control piece) has none.

    Returns:
        One entry per piece, for ids from `old.vocab_size` on.

    Raises:
        ConfigError: If the new vocabulary does not begin with the old one.
    """
    check_grows(old, new)
    return [
        tuple(sorted(old.split(new.piece(token)))) if new.is_text(token) else ()
        for token in range(old.vocab_size, new.vocab_size)
    ]


def check_grows(old: Tokenizer, new: Tokenizer) -> None:
    """Refuse a new vocabulary that does not keep every id of the old one.

    Raises:
        ConfigError: If it is smaller, of another kind, or has another piece at an old id.
    """
    if type(old) is not type(new):
        raise ConfigError(
            f"the model's tokenizer is a {type(old).__name__}, the new one a "
            f"{type(new).__name__}; use one that was extended from the model's own"
        )
    if new.vocab_size < old.vocab_size:
        raise ConfigError(
            f"the new tokenizer has {new.vocab_size:,} pieces, fewer than the {old.vocab_size:,} "
            f"of the model's own; use one that was extended from it"
        )
    for token, (before, after) in enumerate(zip(old.pieces(), new.pieces(), strict=False)):
        if before != after:
            raise ConfigError(
                f"id {token} is {before!r} in the model's tokenizer and {after!r} in the new one; "
                f"use one that was extended from the model's own"
            )
