"""What the pieces of a new vocabulary are made of in the one it grew from."""

from __future__ import annotations

from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer

SubTokens = tuple[int, ...]


def added_subtokens(old: Tokenizer, new: Tokenizer) -> list[SubTokens]:
    """Ids of the old vocabulary that each added piece is split into, without the dummy prefix.

    Ids are sorted: a mean does not know their order, and equal sets give equal rows to the bit.
    A piece that no text gives (control pieces) has none.

    Returns:
        One entry a piece, for ids `old.vocab_size` on.

    Raises:
        ConfigError: The new vocabulary does not begin with the old one.
    """
    check_grows(old, new)
    return [
        tuple(sorted(old.split(new.piece(token)))) if new.is_text(token) else ()
        for token in range(old.vocab_size, new.vocab_size)
    ]


def check_grows(old: Tokenizer, new: Tokenizer) -> None:
    """Refuse a new vocabulary in which an old id means another piece.

    Raises:
        ConfigError: It is smaller, of another kind, or names the first id that changed.
    """
    if type(old) is not type(new):
        raise ConfigError(
            f"the model's tokenizer is a {type(old).__name__}, the new one a "
            f"{type(new).__name__}; give one that was extended from the model's own"
        )
    if new.vocab_size < old.vocab_size:
        raise ConfigError(
            f"the new tokenizer has {new.vocab_size:,} pieces, fewer than the {old.vocab_size:,} "
            f"of the model's own; give one that was extended from it"
        )
    for token, (before, after) in enumerate(zip(old.pieces(), new.pieces(), strict=False)):
        if before != after:
            raise ConfigError(
                f"id {token} is {before!r} in the model's tokenizer and {after!r} in the new one; "
                f"give one that was extended from the model's own"
            )
