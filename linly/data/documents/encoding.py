"""Documents to tokens: each segment encoded separately, between one BOS and one EOS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linly.data.types import Document, EncodedDocument, Segment
from linly.tokenization.continuation import continued_prefix, special_id
from linly.tokenization.tokenizer import Tokenizer


def encode_documents(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[EncodedDocument]:
    """Encode one or more documents, in order; the results are views of two shared arrays.

    A segment is encoded with the tokenizer's dummy prefix and without its neighbours, so a
    prompt's tokens do not depend on the answer that follows.

    Raises:
        DataError: If a text is not valid Unicode.
    """
    texts = [s for document in documents for s in document.segments if s.form != "next"]
    encoded = iter(encode_segments(tokenizer, texts))
    bos = np.array([tokenizer.bos_id], np.int32)
    eos = np.array([tokenizer.eos_id], np.int32)
    parts, ends, masked, position = [], [], [], 0
    starts: list[tuple[int, ...]] = []
    for document in documents:
        begin = position
        inner = [0]
        parts.append(bos)
        masked.append((position, position + 1))
        position += 1
        loss = False
        for segment in document.segments:
            if segment.form == "next":
                parts += [eos, bos]
                masked.append((position if not loss else position + 1, position + 2))
                position += 2
                inner.append(position - 1 - begin)
                loss = False
                continue
            part = next(encoded)
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
        starts.append(tuple(inner))
    ids = np.concatenate(parts)
    supervised = np.ones(position, np.bool_)
    for start, end in masked:
        supervised[start:end] = False
    return [
        EncodedDocument(
            document.shard, document.record, ids[start:end], supervised[start:end], inner_starts
        )
        for document, start, end, inner_starts in zip(
            documents, [0, *ends[:-1]], ends, starts, strict=True
        )
    ]


def encode_segments(tokenizer: Tokenizer, segments: Sequence[Segment]) -> list[NDArray[np.int32]]:
    """Encode segments by their forms, in order.

    Raises:
        DataError: If a text is not valid Unicode.
        ConfigError: If the vocabulary lacks a special token.
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
