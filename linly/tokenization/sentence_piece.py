"""A sentencepiece vocabulary: text to ids and back, exactly as sentencepiece does it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from linly.errors import ConfigError
from linly.tokenization.added_tokens import with_added_tokens
from linly.tokenization.model_file import (
    BYTE,
    NORMAL,
    SPACE,
    USER_DEFINED,
    parse_model,
    read_model_bytes,
)
from linly.tokenization.tokenizer import Tokenizer, not_unicode
from linly.tokenization.word_cache import WordCache, cuttable, why_not_by_words

_SURROGATE = re.compile("[\ud800-\udfff]")


class SentencePieceTokenizer(Tokenizer):
    """A sentencepiece vocabulary with the ids of the `sentencepiece` library.

    Words are cached if the vocabulary allows it (`word_cache`), which changes the speed but never
    the ids. Otherwise `why_no_cache` holds the reason.
    """

    def __init__(self, model_bytes: bytes, *, origin: str = "model", by_words: bool = True) -> None:
        """Build from a serialized model.

        Args:
            model_bytes: The model.
            origin: Name of the model in errors.
            by_words: Whether to use the cache if the vocabulary allows it.
        """
        model = parse_model(model_bytes, origin=origin)
        self.model_bytes = model_bytes
        self.fingerprint = hashlib.sha256(model_bytes).hexdigest()
        self._processor = load_processor(model_bytes, origin)
        self.vocab_size = int(self._processor.vocab_size())
        self.bos_id = int(self._processor.bos_id())
        self.eos_id = int(self._processor.eos_id())
        if self.bos_id < 0 or self.eos_id < 0:
            raise ConfigError(
                f"tokenizer {origin}: it has no {'<s>' if self.bos_id < 0 else '</s>'} piece; "
                f"every document needs one BOS and one EOS"
            )
        pad_id = int(self._processor.pad_id())
        self.pad_id = pad_id if pad_id >= 0 else None
        self.why_no_cache = why_not_by_words(model)
        self._types = [int(piece.type) for piece in model.pieces]
        self._bare: Any = None
        self._cache = _word_cache(model, origin) if by_words and not self.why_no_cache else None

    @classmethod
    def load(cls, path: Path) -> SentencePieceTokenizer:
        """Read a sentencepiece `.model` file, or a folder that holds a `tokenizer.model`.

        A folder's added tokens, and the BOS and EOS that it names, are part of its vocabulary.

        Raises:
            ConfigError: If there is none, it cannot be read, or the folder's files disagree.
        """
        model_bytes = read_model_bytes(path)
        if path.is_dir():
            model_bytes = with_added_tokens(model_bytes, path)
        return cls(model_bytes, origin=str(path))

    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids of a text with the dummy prefix, without BOS and EOS: int32 [n].

        Raises:
            DataError: If the text is not valid Unicode (a lone surrogate).
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """See `Tokenizer`."""
        try:
            if self._cache is not None:
                return self._cache.encode(texts)
            return [self._processor.encode_as_numpy(text) for text in texts]
        except (RuntimeError, TypeError, UnicodeEncodeError) as error:
            bad = next(filter(_SURROGATE.search, texts), "")
            raise not_unicode(bad) from error

    def decode(self, ids: Sequence[int] | NDArray[np.int32]) -> str:
        """Text of ids; special pieces have none."""
        return str(self._processor.decode([int(token) for token in ids]))

    def piece(self, token: int) -> str:
        """Piece of an id."""
        return str(self._processor.id_to_piece(token))

    def readable(self, token: int) -> str:
        """See `Tokenizer`: the piece itself."""
        return self.piece(token)

    def is_text(self, token: int) -> bool:
        """See `Tokenizer`."""
        return self._types[token] in (NORMAL, USER_DEFINED)

    def partial_ids(self) -> NDArray[np.bool_]:
        """See `Tokenizer`: the bytes."""
        return np.array([kind == BYTE for kind in self._types], dtype=np.bool_)

    def split(self, piece: str) -> list[int]:
        """See `Tokenizer`."""
        if self._bare is None:
            model = parse_model(self.model_bytes, origin="base")
            model.normalizer_spec.add_dummy_prefix = False
            model.normalizer_spec.remove_extra_whitespaces = False
            self._bare = load_processor(model.SerializeToString(), "base")
        return [int(token) for token in self._bare.encode(piece.replace(SPACE, " "))]


def load_processor(model_bytes: bytes, origin: str) -> Any:
    """Load a `SentencePieceProcessor`; `origin` names the model in errors."""
    processor: Any = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model_bytes)
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"tokenizer {origin}: not a sentencepiece model ({error})") from error
    return processor


def _word_cache(model: Any, origin: str) -> WordCache:
    """Create a cache for the same vocabulary; it adds the dummy prefix itself, once per text."""
    bare = type(model)()
    bare.CopyFrom(model)
    bare.normalizer_spec.add_dummy_prefix = False
    processor = load_processor(bare.SerializeToString(), origin)
    prefix = b" " if model.normalizer_spec.add_dummy_prefix else b""
    return WordCache(processor.encode_as_numpy, cuttable(model), prefix=prefix)
