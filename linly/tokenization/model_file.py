"""A sentencepiece model file as data: its pieces, types, scores and normalizer.

`sentencepiece` itself only segments. A model is read and extended in its protobuf form, which only
this module parses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linly.errors import ConfigError
from linly.files import read_limited
from linly.storage.hub import MODEL_FORM

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""`ModelProto.SentencePiece.Type`."""

UNIGRAM, BPE, WORD = 1, 2, 3
"""`TrainerSpec.ModelType`."""

SPACE = "\u2581"
"""The visible form of a space inside pieces."""

MODEL_SIZE_LIMIT_BYTES = 1 << 28


def read_model_bytes(path: Path) -> bytes:
    """Bytes of a model file, or of the `tokenizer.model` of a model folder.

    Raises:
        ConfigError: If there is no such file, or the folder has no sentencepiece model.
    """
    file = path / "tokenizer.model" if path.is_dir() else path
    if not file.is_file():
        if (path / "tokenizer.json").is_file():
            raise ConfigError(
                f"tokenizer {path}: the folder holds only a tokenizer.json; pass a sentencepiece "
                f".model file or a folder that holds a tokenizer.model"
            )
        missing = "neither tokenizer.model nor tokenizer.json in it"
        raise ConfigError(
            f"tokenizer {path}: {missing if path.is_dir() else 'no such file or folder'}; pass a "
            f"sentencepiece .model file, a tokenizer.json, {MODEL_FORM}"
        )
    return read_limited(file, limit_bytes=MODEL_SIZE_LIMIT_BYTES)


def parse_model(data: bytes, *, origin: str) -> Any:
    """Parse a serialized model into its `ModelProto`; `origin` names it in errors.

    Raises:
        ConfigError: If the bytes are not a sentencepiece model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined, unused-ignore]
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ConfigError(f"tokenizer {origin}: not a sentencepiece model ({error})") from error
    if not model.pieces:
        raise ConfigError(f"tokenizer {origin}: the sentencepiece model has no pieces")
    return model
