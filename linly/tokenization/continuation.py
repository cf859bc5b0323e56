"""Tokens of what stands inside a document: special tokens by name, text that goes on.

Sentencepiece puts a space before a text. Text that goes on from what stands before it is encoded
behind a character that no piece holds, whose tokens are then cut off: no merge reaches over it.
"""

from __future__ import annotations

from functools import lru_cache
from weakref import WeakKeyDictionary

from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer

_SPACE = "\u2581"
_STRANGERS = "\ue000\ue001\uf8ff\U000f0000"
"""Of the private use areas: characters that stand for nothing, and so are in no vocabulary."""

_special_ids: WeakKeyDictionary[Tokenizer, dict[str, int]] = WeakKeyDictionary()


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """Give the id of a special token.

    Raises:
        ConfigError: The vocabulary does not have it.
    """
    ids = _special_ids.get(tokenizer)
    if ids is None:
        ids = {piece: token for token, piece in enumerate(tokenizer.pieces())}
        _special_ids[tokenizer] = ids
    if name not in ids:
        raise ConfigError(
            f"the chat template writes the special token {name!r}, which the vocabulary of "
            f"{tokenizer.vocab_size:,} pieces does not have: it and the template are not of the "
            f"same model"
        )
    return ids[name]


@lru_cache(maxsize=8)
def continued_prefix(tokenizer: Tokenizer) -> tuple[str, int]:
    """Give what to put before text that goes on, and how many tokens of it to cut off.

    A vocabulary that puts no space before a text needs nothing.

    Raises:
        ConfigError: No character can serve.
    """
    if not tokenizer.piece(int(tokenizer.encode("a")[0])).startswith(_SPACE):
        return "", 0
    pieces = tokenizer.pieces()
    for stranger in _STRANGERS:
        alone = tokenizer.encode(stranger).tolist()
        twice = tokenizer.encode(stranger * 2).tolist()
        # Without byte fallback strangers in a row are one <unk>: it would swallow what follows.
        if len(twice) > len(alone) and not any(stranger in piece for piece in pieces):
            return stranger, len(alone)
    raise ConfigError(
        "chat templates need a vocabulary with byte fallback: text that goes on behind a special "
        "token cannot be encoded with this one"
    )
