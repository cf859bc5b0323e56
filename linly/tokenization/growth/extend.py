"""Append pieces to a sentencepiece model so that all other text is segmented as before.

Hugging Face's `add_tokens` splits the text at an added token before the rest is segmented. Pieces
appended to the model itself take part in the ordinary segmentation. A single character is never
the result of a merge, so a text without the added characters keeps every id.
"""

from __future__ import annotations

from collections.abc import Sequence

from linly.errors import ConfigError
from linly.tokenization.growth.characters import why_not_a_piece
from linly.tokenization.growth.reachable import dead_characters, with_characters
from linly.tokenization.model_file import CONTROL, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer

_MAX_SHOWN = 5


def extend_vocabulary(base: SentencePieceTokenizer, characters: Sequence[str]) -> bytes:
    """Append one piece per character: type NORMAL, with a score below that of every merge.

    Returns:
        The new model, serialized; ids from `base.vocab_size` on, in the order given. If the base
        has all the characters already, the base.

    Raises:
        ConfigError: If a string is in the base already, is given twice, is not a single printable
            character, or would be a piece that text never produces (see `dead_characters`); the
            first ones are listed with reasons.
    """
    known = set(base.pieces())
    if all_known(characters, known):
        return base.model_bytes
    refuse_characters(characters, known)
    dead = dead_characters(base, characters)
    if dead:
        raise ConfigError(_cannot_be_added([f"{c!r}: {reason}" for c, reason in dead.items()]))
    return with_characters(base, characters)


def add_pad_piece(base: SentencePieceTokenizer, *, piece: str = "<pad>") -> bytes:
    """Append a control piece and set it as the padding piece; text never produces it.

    Raises:
        ConfigError: If the vocabulary has a padding piece, or a piece of this name.
    """
    if base.pad_id is not None:
        raise ConfigError(
            f"the vocabulary has a padding piece already: {base.piece(base.pad_id)!r}, "
            f"id {base.pad_id}"
        )
    model = parse_model(base.model_bytes, origin="base")
    if piece in {other.piece for other in model.pieces}:
        raise ConfigError(f"the vocabulary has a piece {piece!r} already")
    model.pieces.add(piece=piece, score=0.0, type=CONTROL)
    model.trainer_spec.pad_id = len(model.pieces) - 1
    model.trainer_spec.pad_piece = piece
    model.trainer_spec.vocab_size = len(model.pieces)
    return bytes(model.SerializeToString())


def all_known(characters: Sequence[str], known: set[str]) -> bool:
    """Whether a vocabulary already has all of these characters."""
    return all(len(character) == 1 and character in known for character in characters)


def refuse_characters(characters: Sequence[str], known: set[str]) -> None:
    """Refuse strings that cannot be appended as character pieces.

    Raises:
        ConfigError: If there are any; the first ones are listed with reasons.
    """
    refused: list[str] = []
    given: set[str] = set()
    for character in characters:
        reason = why_not_a_piece(character)
        if reason is None and character in known:
            reason = "the base has it"
        if reason is None and character in given:
            reason = "given twice"
        if reason is not None:
            refused.append(f"{character[:20]!r}: {reason}")
        given.add(character)
    if refused:
        raise ConfigError(_cannot_be_added(refused))


def _cannot_be_added(refused: Sequence[str]) -> str:
    more = len(refused) - _MAX_SHOWN
    listed = "; ".join(refused[:_MAX_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
    return f"{len(refused):,} characters cannot be added: {listed}"
