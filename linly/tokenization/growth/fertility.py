"""Fertility: how many tokens a vocabulary needs for a text, before and after a change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from linly.tokenization.tokenizer import Tokenizer

MAX_EXAMPLES = 10
WORTH_EXTENDING = 0.10
"""Share of tokens to save before new rows are worth their training."""

_MEANINGFUL_SAVING = 0.005


@dataclass(frozen=True, slots=True)
class Fertility:
    """One vocabulary on one source.

    Attributes:
        tokens: All ids together, without BOS and EOS.
        byte_tokens: Those that are bytes of a character without a piece.
    """

    tokens: int
    byte_tokens: int


@dataclass(frozen=True, slots=True)
class LocatedText:
    """A text and where it comes from."""

    shard: str
    record: int
    text: str


@dataclass(frozen=True, slots=True)
class TouchedDocument:
    """A document that holds new pieces, or has other ids without one.

    Attributes:
        shard: Where it is.
        record: Its place there.
        pieces: The new pieces in it, in the order of their ids; none: it changed without reason.
    """

    shard: str
    record: int
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source under both vocabularies.

    Attributes:
        name: Of the source.
        documents: Texts read.
        characters: Of all texts.
        size_bytes: Of all texts in UTF-8.
        before: Under the base.
        after: Under the new vocabulary.
        added_used: New pieces that occur.
        num_added: New pieces there are.
        num_unchanged: Texts with the same ids under both.
        num_with_added: Texts that hold a new piece (by the new vocabulary's ids).
        num_unexplained: Texts without a new piece whose ids differ all the same; none, when the
            new vocabulary leaves everything else alone.
        touched: Those two kinds, the first of each that were to be kept.
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
        """Share of the base's tokens that are not needed any more."""
        return 1 - self.after.tokens / max(1, self.before.tokens)

    def advice(self) -> str:
        """What the figures say about extending."""
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
    """Encode every text with both vocabularies and add up.

    Args:
        name: Of the source.
        texts: Its texts.
        base: The vocabulary before.
        new: The one after; it begins with the pieces of `base` (`subtokens.check_grows`).
        max_touched: How many touched documents of each kind to keep; None keeps all.
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
