"""Record of the tokens that were added to a model, in its config.json.

`linly model extend` writes it. A second extension keeps the first number, and an export keeps the
key: all rows of tokens after it are new.
"""

from __future__ import annotations

from pathlib import Path

from linly.errors import ConfigError
from linly.modeling.stored.weight_files import read_json_object
from linly.tokenization.tokenizer import Tokenizer

BASE_VOCABULARY_KEY = "base_vocab_size"
"""Key in config.json of an extended model: its number of pieces before; later ids are new."""


def read_new_rows(model: Path, tokenizer: Tokenizer) -> range | None:
    """Ids of the tokens that were added to a model; None if it has no record of them, or none.

    Raises:
        ConfigError: If the base size in config.json is invalid.
    """
    first = read_json_object(model / "config.json").get(BASE_VOCABULARY_KEY)
    if first is None:
        return None
    if not isinstance(first, int) or not 0 < first <= tokenizer.vocab_size:
        raise ConfigError(
            f"model {model}: config.json: {BASE_VOCABULARY_KEY}: found {first!r}, allowed: 1 "
            f"to {tokenizer.vocab_size:,}, the pieces of its tokenizer; correct or remove it"
        )
    return range(first, tokenizer.vocab_size) if first < tokenizer.vocab_size else None


def explain_absence(model: Path) -> str:
    """Reason why a model has no new rows, with the cure."""
    if BASE_VOCABULARY_KEY in read_json_object(model / "config.json"):
        return f"model {model}: no token was added to its vocabulary"
    return (
        f"model {model}: its config.json does not say which tokens were added "
        f"({BASE_VOCABULARY_KEY}); `linly model extend` writes this. If another program added "
        f"them, add {BASE_VOCABULARY_KEY}: the number of tokens before"
    )
