"""Fertility: tokens per character of a vocabulary, before and after a change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from linly.tokenization.tokenizer import Tokenizer

MAX_EXAMPLES = 10
WORTH_EXTENDING = 0.10
"""Smallest fraction of tokens saved for which new rows are worth training."""

_MEANINGFUL_SAVING = 0.005


@dataclass(frozen=True, slots=True)
class Fertility:
    """Token counts of one vocabulary on one source.

    Attributes:
        tokens: Number of tokens, without BOS and EOS.
        byte_tokens: Tokens that are bytes of a character without a piece.
    """

    tokens: int
    byte_tokens: int


@dataclass(frozen=True, slots=True)
class LocatedText:
    """A text and its location in a shard."""

    shard: str
    record: int
    text: str


@dataclass(frozen=True, slots=True)
class TouchedDocument:
    """A document that holds new pieces, or whose ids changed without one.

    Attributes:
        shard: Shard of the document.
        record: Its record in the shard.
        pieces: New pieces in it, in the order of their ids; empty if its ids changed without one.
    """

    shard: str
    record: int
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source under both vocabularies.

    Attributes:
        name: Name of the source.
        documents: Number of texts read.
        characters: Characters of all texts.
        size_bytes: Bytes of all texts in UTF-8.
        before: Token counts under the base.
        after: Token counts under the new vocabulary.
        added_used: Number of new pieces that occur.
        num_added: Number of new pieces.
        num_unchanged: Texts with the same ids under both.
        num_with_added: Texts that hold a new piece (by the new vocabulary's ids).
        num_unexplained: Texts without a new piece whose ids still differ; 0 if the new vocabulary
            does not change other text.
        touched: Documents of the last two kinds, the first `max_touched` of each.
    """

    name: str
    documents: int
    characters: int
    size_bytes: int
    before: Fertility
    after: Fertility
    added_used: int
    num_added: int
    num_unchanged: int
    num_with_added: int
    num_unexplained: int
    touched: tuple[TouchedDocument, ...]

    @property
    def before_per_character(self) -> float:
        """Tokens per character under the base."""
        return self.before.tokens / max(1, self.characters)

    @property
    def after_per_character(self) -> float:
        """Tokens per character under the new vocabulary."""
        return self.after.tokens / max(1, self.characters)

    @property
    def saved(self) -> float:
        """Fraction of the base's tokens that are saved."""
        return 1 - self.after.tokens / max(1, self.before.tokens)

    def advice(self) -> str:
        """Advice on extending, with the figures behind it."""
        change = f"{self.before_per_character:.2f} -> {self.after_per_character:.2f}"
        if self.saved >= WORTH_EXTENDING:
            return f"{change} tokens per character: extend"
        if self.saved >= _MEANINGFUL_SAVING:
            return f"base already at {self.before_per_character:.2f}: saves {self.saved:.0%}"
        if abs(self.saved) < _MEANINGFUL_SAVING:
            return "unchanged" if self.num_unchanged == self.documents else "nearly unchanged"
        return f"{change} tokens per character: more than before"


def compare_vocabularies(
    name: str,
    texts: Iterable[LocatedText],
    base: Tokenizer,
    new: Tokenizer,
    *,
    max_touched: int | None = MAX_EXAMPLES,
) -> SourceReport:
    """Encode every text with both vocabularies and sum the counts.

    Args:
        name: Name of the source.
        texts: Its texts.
        base: The vocabulary before.
        new: The vocabulary after, which begins with the pieces of `base` (`subtokens.check_grows`).
        max_touched: Number of touched documents of each kind to keep; None keeps all.
    """
    is_byte = [base.partial_ids(), new.partial_ids()]
    used = np.zeros(new.vocab_size, dtype=np.bool_)
    tokens, byte_tokens = [0, 0], [0, 0]
    documents = characters = size_bytes = num_unchanged = num_with_added = num_unexplained = 0
    touched: list[TouchedDocument] = []
    for located in texts:
        ids = (base.encode(located.text), new.encode(located.text))
        documents += 1
        characters += len(located.text)
        size_bytes += len(located.text.encode())
        for which in (0, 1):
            tokens[which] += len(ids[which])
            byte_tokens[which] += int(np.count_nonzero(is_byte[which][ids[which]]))
        used[ids[1]] = True
        added = np.unique(ids[1][ids[1] >= base.vocab_size]).tolist()
        same = np.array_equal(*ids)
        num_unchanged += same
        if added:
            num_with_added += 1
            is_kept = max_touched is None or num_with_added <= max_touched
        elif not same:
            num_unexplained += 1
            is_kept = max_touched is None or num_unexplained <= max_touched
        else:
            continue
        if is_kept:
            pieces = tuple(map(new.readable, added))
            touched.append(TouchedDocument(located.shard, located.record, pieces))
    return SourceReport(
        name=name,
        documents=documents,
        characters=characters,
        size_bytes=size_bytes,
        before=Fertility(tokens[0], byte_tokens[0]),
        after=Fertility(tokens[1], byte_tokens[1]),
        added_used=int(np.count_nonzero(used[base.vocab_size :])),
        num_added=new.vocab_size - base.vocab_size,
        num_unchanged=num_unchanged,
        num_with_added=num_with_added,
        num_unexplained=num_unexplained,
        touched=tuple(touched),
    )
