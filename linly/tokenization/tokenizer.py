"""Text to ids and back: the interface of all vocabularies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linly.errors import DataError


class Tokenizer(ABC):
    """A vocabulary of either kind: `SentencePieceTokenizer` or `ByteLevelTokenizer`.

    Attributes:
        model_bytes: The vocabulary, serialized; `tokenizer_from_bytes` restores it, for example
            in other processes.
        fingerprint: SHA-256 of `model_bytes`, hexadecimal.
        vocab_size: The largest id plus one.
        bos_id: Id before each document.
        eos_id: Id after each document.
        pad_id: Id of padding, if the vocabulary has one.
    """

    model_bytes: bytes
    fingerprint: str
    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int | None

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids of a text, without BOS and EOS: int32 [n]. Special tokens are encoded as text.

        Raises:
            DataError: If the text is not valid Unicode (a lone surrogate).
        """

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """`encode` of each text, in order."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def decode(self, ids: Sequence[int] | NDArray[np.int32]) -> str:
        """Text of ids; special pieces have none."""

    @abstractmethod
    def piece(self, token: int) -> str:
        """Piece of an id, as written in the vocabulary's file."""

    def pieces(self) -> list[str]:
        """All pieces, by id."""
        return [self.piece(token) for token in range(self.vocab_size)]

    @abstractmethod
    def readable(self, token: int) -> str:
        """Piece of an id in a form for people."""

    @abstractmethod
    def is_text(self, token: int) -> bool:
        """Whether an id represents text: neither a special piece nor a fallback byte."""

    @abstractmethod
    def partial_ids(self) -> NDArray[np.bool_]:
        """Mask of the ids that hold only a part of a character: bool [vocab_size]."""

    @abstractmethod
    def split(self, piece: str) -> list[int]:
        """Ids of a piece of another vocabulary of this kind, without the dummy prefix."""


def not_unicode(text: str) -> DataError:
    """Error for a text that cannot be encoded by any vocabulary."""
    for position, character in enumerate(text):
        if 0xD800 <= ord(character) <= 0xDFFF:
            return DataError(
                f"cannot encode text: a lone surrogate U+{ord(character):04X} at character "
                f"{position}; the record is not valid Unicode"
            )
    return DataError("cannot encode text: the tokenizer refuses it")
