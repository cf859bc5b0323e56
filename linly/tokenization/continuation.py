"""Tokens inside a document: special tokens by name, and text that continues a document.

sentencepiece puts a space before a text. To avoid it, continuing text is encoded after a character
that no piece holds, and the tokens of that character are then removed: no merge crosses it.
"""

from __future__ import annotations

from functools import lru_cache
from weakref import WeakKeyDictionary

from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer

_SPACE = "\u2581"
_STRANGERS = "\ue000\ue001\uf8ff\U000f0000"
"""Private-use characters, which have no meaning and so are in no vocabulary."""

_special_ids: WeakKeyDictionary[Tokenizer, dict[str, int]] = WeakKeyDictionary()


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """Return the id of a special token.

    Raises:
        ConfigError: If the vocabulary does not have it.
    """
    ids = _special_ids.get(tokenizer)
    if ids is None:
        ids = {piece: token for token, piece in enumerate(tokenizer.pieces())}
        _special_ids[tokenizer] = ids
    if name not in ids:
        raise ConfigError(
            f"the chat template writes the special token {name!r}, which the vocabulary of "
            f"{tokenizer.vocab_size:,} pieces does not have: it and the template do not belong to "
            f"the same model"
        )
    return ids[name]


def has_dummy_prefix(tokenizer: Tokenizer) -> bool:
    """Whether a vocabulary puts a space before each text."""
    return tokenizer.piece(int(tokenizer.encode("a")[0])).startswith(_SPACE)


@lru_cache(maxsize=8)
def continued_prefix(tokenizer: Tokenizer) -> tuple[str, int]:
    """Return the prefix for continuing text, and the number of its tokens to remove.

    A vocabulary that does not put a space before a text needs no prefix.

    Raises:
        ConfigError: If no character can be the prefix.
    """
    if not has_dummy_prefix(tokenizer):
        return "", 0
    pieces = tokenizer.pieces()
    for stranger in _STRANGERS:
        alone = tokenizer.encode(stranger).tolist()
        twice = tokenizer.encode(stranger * 2).tolist()
        # Without byte fallback, adjacent unknown characters are one <unk>, which would include
        # the beginning of the text.
        if len(twice) > len(alone) and not any(stranger in piece for piece in pieces):
            return stranger, len(alone)
    raise ConfigError(
        "chat templates need a vocabulary with byte fallback: this one cannot encode the text "
        "after a special token"
    )
