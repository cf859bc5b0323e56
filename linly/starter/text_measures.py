"""Measures corpora with a model's vocabulary: tokens, tokens per character, missing characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from linly.config.source import Source
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader
from linly.data.types import Document, Shard
from linly.tokenization.growth.characters import choose_characters
from linly.tokenization.growth.fertility import WORTH_EXTENDING
from linly.tokenization.growth.reachable import dead_characters
from linly.tokenization.tokenizer import Tokenizer

_NUM_DOCUMENTS = 500
_NUM_CHARACTERS = 500_000


@dataclass(frozen=True, slots=True)
class TextMeasure:
    """Texts of one language under a vocabulary.

    Attributes:
        characters: Number of characters.
        tokens: Number of tokens, without BOS and EOS.
        missing: Characters without a piece that could be added, most frequent first.
        saved: Tokens that pieces for all of them would save.
    """

    characters: int
    tokens: int
    missing: tuple[str, ...]
    saved: int

    @property
    def per_character(self) -> float:
        """Tokens per character."""
        return self.tokens / max(1, self.characters)

    @property
    def extended_per_character(self) -> float:
        """Tokens per character if every missing character had a piece."""
        return (self.tokens - self.saved) / max(1, self.characters)

    @property
    def is_poor(self) -> bool:
        """Whether new pieces would save so many tokens that they are worth training."""
        return self.saved >= WORTH_EXTENDING * max(1, self.tokens)


def sample_texts(source: Source, shards: Sequence[Shard]) -> Iterator[str]:
    """Iterate over the texts of a source's first documents, up to 500,000 characters."""
    reader = ShardReader(source.corpus, source.data_root)
    maker = DocumentMaker(source)
    characters = 0
    made = (maker.make(s.path, raw, epoch=0) for s in shards for raw in reader.read(s))
    documents = (one for one in made if isinstance(one, Document))
    for document in islice(documents, _NUM_DOCUMENTS):
        text = "".join(segment.text for segment in document.segments if segment.supervised)
        yield text[: _NUM_CHARACTERS - characters]
        characters += len(text)
        if characters >= _NUM_CHARACTERS:
            return


def measure_texts(texts: Iterable[str], tokenizer: Tokenizer) -> TextMeasure:
    """Count tokens and missing characters of texts."""
    counts: Counter[str] = Counter()
    num_tokens = 0
    for text in texts:
        counts.update(text)
        num_tokens += len(tokenizer.encode(text))
    known = {*map(tokenizer.readable, range(tokenizer.vocab_size))}
    by_count = sorted(counts, key=lambda character: (-counts[character], character))
    missing = choose_characters(by_count, known, count=None)
    dead = dead_characters(tokenizer, missing) if missing else {}
    missing = [character for character in missing if character not in dead]
    alone = len(tokenizer.encode("a"))
    saved = sum(counts[c] * (len(tokenizer.encode(f"a{c}")) - alone - 1) for c in missing)
    return TextMeasure(counts.total(), num_tokens, tuple(missing), saved)
