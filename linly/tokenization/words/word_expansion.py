"""Proof on texts that new words only join old tokens.

New merges apply after all old ones. So if each new word in a text's ids is replaced by the old ids
that it joins, the old ids of the whole text result. In particular a text without a new word has
the ids that it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer

_TEXTS_AT_ONCE = 256


def check_expansion(
    base: Tokenizer,
    new: Tokenizer,
    joined: Sequence[Sequence[int]],
    texts: Iterable[str],
) -> int:
    """Compare the ids of texts under both vocabularies, new words expanded.

    Args:
        base: The vocabulary before.
        new: The vocabulary after.
        joined: Old ids that each new word joins, from id `base.vocab_size` on.
        texts: Texts to compare on.

    Returns:
        Number of texts compared.

    Raises:
        ConfigError: If the ids of a text differ.
    """
    parts = [np.arange(base.vocab_size), *(np.array(ids, np.int64) for ids in joined)]
    flat = np.concatenate(parts)
    counts = np.ones(base.vocab_size + len(joined), np.int64)
    counts[base.vocab_size :] = [len(ids) for ids in joined]
    ends = counts.cumsum()
    texts, num_texts = iter(texts), 0
    while batch := list(islice(texts, _TEXTS_AT_ONCE)):
        for text, old, ids in zip(
            batch, base.encode_batch(batch), new.encode_batch(batch), strict=True
        ):
            lengths = counts[ids]
            places = np.repeat(ends[ids] - lengths.cumsum(), lengths)
            places += np.arange(len(places))
            if not np.array_equal(flat[places], old):
                raise ConfigError(
                    f"the new words change the ids of other text in {text[:80]!r}: this "
                    f"vocabulary cannot be extended by merges"
                )
        num_texts += len(batch)
    return num_texts
