"""Documents to tokens: each segment encoded by itself, between one BOS and one EOS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from linly.data.types import Document, EncodedDocument, Segment
from linly.tokenization.continuation import continued_prefix, special_id
from linly.tokenization.tokenizer import Tokenizer


class FlatTokens(NamedTuple):
    """Tokens of a batch of documents, one after another: few arrays, quick to make and to send.

    Attributes:
        ids: int32 [tokens].
        supervised: bool [tokens].
        ends: Where each document ends, int64 [documents].
    """

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    ends: NDArray[np.int64]

    def split(self, documents: Sequence[Document]) -> list[EncodedDocument]:
        """Views of the documents that these are the tokens of."""
        encoded, start = [], 0
        for document, end in zip(documents, self.ends.tolist(), strict=True):
            ids, supervised = self.ids[start:end], self.supervised[start:end]
            encoded.append(EncodedDocument(document.shard, document.record, ids, supervised))
            start = end
        return encoded


def encode_flat(tokenizer: Tokenizer, documents: Sequence[Document]) -> FlatTokens:
    """Encode documents, in order.

    A segment is encoded with the tokenizer's dummy prefix and without its neighbours, so a
    prompt's tokens do not depend on the answer that follows.

    Raises:
        DataError: A text is not valid Unicode.
    """
    segments = [segment for document in documents for segment in document.segments]
    encoded = iter(encode_segments(tokenizer, segments))
    bos = np.array([tokenizer.bos_id], np.int32)
    eos = np.array([tokenizer.eos_id], np.int32)
    parts, ends, masked, position = [], [], [], 0
    for document in documents:
        parts.append(bos)
        masked.append((position, position + 1))
        position += 1
        loss = False
        # Segments come first: at their end zip leaves the next document's part alone.
        for segment, part in zip(document.segments, encoded, strict=False):
            parts.append(part)
            loss = segment.supervised
            if not loss:
                masked.append((position, position + len(part)))
            position += len(part)
        parts.append(eos)
        if not loss:
            masked.append((position, position + 1))
        position += 1
        ends.append(position)
    supervised = np.ones(position, np.bool_)
    for start, end in masked:
        supervised[start:end] = False
    return FlatTokens(np.concatenate(parts), supervised, np.array(ends, np.int64))


def encode_segments(tokenizer: Tokenizer, segments: Sequence[Segment]) -> list[NDArray[np.int32]]:
    """Encode segments by their forms, in order.

    Raises:
        DataError: A text is not valid Unicode.
        ConfigError: The vocabulary has no such special token.
    """
    if all(segment.form == "text" for segment in segments):
        return tokenizer.encode_batch([segment.text for segment in segments])
    prefix, num_prefix = continued_prefix(tokenizer)
    texts = [
        prefix + segment.text if segment.form == "continued" else segment.text
        for segment in segments
        if segment.form != "special"
    ]
    encoded = iter(tokenizer.encode_batch(texts))
    found = []
    for segment in segments:
        if segment.form == "special":
            found.append(np.array([special_id(tokenizer, segment.text)], np.int32))
        elif segment.form == "continued":
            found.append(next(encoded)[num_prefix:])
        else:
            found.append(next(encoded))
    return found


def encode_documents(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[EncodedDocument]:
    """Encode at least one document, in order; see `encode_flat`."""
    return encode_flat(tokenizer, documents).split(documents)


class Encoder(Protocol):
    """Encodes batches of documents, perhaps in other processes, perhaps ahead of their use."""

    @property
    def lookahead(self) -> int:
        """Batches of one source worth having under way."""

    def has_room(self) -> bool:
        """Whether another batch may be submitted before it is needed."""

    def submit(self, documents: Sequence[Document]) -> Callable[[], list[EncodedDocument]]:
        """Begin a batch; calling what comes back waits for it."""

    def close(self) -> None:
        """Give back processes."""


class InProcessEncoder:
    """Encodes where it is called, when the batch is needed."""

    lookahead = 1

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Use this tokenizer."""
        self._tokenizer = tokenizer

    def has_room(self) -> bool:
        """Never: work done early would only come earlier, not sooner."""
        return False

    def submit(self, documents: Sequence[Document]) -> Callable[[], list[EncodedDocument]]:
        """Put the batch off until it is asked for."""
        return lambda: encode_documents(self._tokenizer, documents)

    def close(self) -> None:
        """Nothing to give back."""
