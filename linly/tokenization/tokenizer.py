"""Text to ids and back: what every vocabulary can do, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linly.errors import DataError


class Tokenizer(ABC):
    """A vocabulary of either kind: `SentencePieceTokenizer` or `ByteLevelTokenizer`.

    Attributes:
        model_bytes: The vocabulary, serialized; `tokenizer_from_bytes` makes an equal one, which
            is how it travels to other processes.
        fingerprint: Sha256 of `model_bytes`, hexadecimal.
        vocab_size: The largest id and one.
        bos_id: Stands before each document.
        eos_id: Stands behind each document.
        pad_id: For padding, where the vocabulary has one.
    """

    model_bytes: bytes
    fingerprint: str
    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int | None

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids of a text, without BOS and EOS; special tokens in it are text: int32 [n].

        Raises:
            DataError: The text is not valid Unicode (a lone surrogate).
        """

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """`encode` of each text, in order."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def decode(self, ids: Sequence[int] | NDArray[np.int32]) -> str:
        """The text of ids; special pieces give nothing."""

    @abstractmethod
    def piece(self, token: int) -> str:
        """The piece behind an id, as the vocabulary's file writes it."""

    def pieces(self) -> list[str]:
        """All pieces, by id."""
        return [self.piece(token) for token in range(self.vocab_size)]

    @abstractmethod
    def readable(self, token: int) -> str:
        """The piece behind an id, as people read it."""

    @abstractmethod
    def is_text(self, token: int) -> bool:
        """Whether an id stands for text: no special piece, no byte of the fallback."""

    @abstractmethod
    def partial_ids(self) -> NDArray[np.bool_]:
        """Which ids are parts of a character that has no piece of its own: bool [vocab_size]."""

    @abstractmethod
    def split(self, piece: str) -> list[int]:
        """Ids that a piece of another vocabulary of this kind is made of, no prefix before it."""


def not_unicode(text: str) -> DataError:
    """The error for a text that no vocabulary takes."""
    for position, character in enumerate(text):
        if 0xD800 <= ord(character) <= 0xDFFF:
            return DataError(
                f"cannot encode text: a lone surrogate U+{ord(character):04X} at character "
                f"{position}; the record is not valid Unicode"
            )
    return DataError("cannot encode text: the tokenizer refuses it")
