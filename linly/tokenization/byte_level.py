"""A byte-level BPE vocabulary, the kind that GPT-2, Llama 3 and Qwen have, from its tokenizer.json.

Each byte of the UTF-8 text is a letter. Merges form pieces of bytes, which may hold a part of a
character or cross the boundary of two. The ids are those of the `tokenizers` library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import tokenizers
from numpy.typing import NDArray

from linly.config.chat_format import ADDITIONAL_TEMPLATES, TEMPLATE_FILE, TEMPLATE_JSON
from linly.errors import ConfigError
from linly.files import publish, read_limited
from linly.tokenization.tokenizer import Tokenizer, not_unicode

TOKENIZER_JSON, CONFIG_JSON = "tokenizer.json", "tokenizer_config.json"
COMPANIONS = (CONFIG_JSON, "special_tokens_map.json", TEMPLATE_FILE, TEMPLATE_JSON)
"""Files next to a tokenizer.json that belong to it, besides a folder of further chat templates."""

SIZE_LIMIT_BYTES = 1 << 28

_BUNDLE_START = b'{"tokenizer.json":'


def _byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes: printable Latin-1 as it is, other bytes from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


BYTE_TO_LETTER = _byte_letters()
LETTER_TO_BYTE = {letter: byte for byte, letter in BYTE_TO_LETTER.items()}


def to_letters(data: bytes) -> str:
    """Convert bytes to the letters that a tokenizer.json writes for them."""
    return "".join(map(BYTE_TO_LETTER.__getitem__, data))


def to_bytes(letters: str) -> bytes | None:
    """Bytes of a piece; None if it has characters other than the letters for bytes."""
    try:
        return bytes(map(LETTER_TO_BYTE.__getitem__, letters))
    except KeyError:
        return None


class ByteLevelTokenizer(Tokenizer):
    """A byte-level BPE vocabulary with the ids of the `tokenizers` library.

    Special tokens in a text are encoded as text, as sentencepiece does. Added tokens that are not
    special stay whole. A vocabulary without a BOS (Qwen's) puts its EOS before a document too,
    because such models saw in training the EOS between documents.
    """

    def __init__(self, model_bytes: bytes, *, origin: str = "model") -> None:
        """Build from the output of `bundle`; `origin` names the files in errors."""
        self.model_bytes = model_bytes
        self.fingerprint = hashlib.sha256(model_bytes).hexdigest()
        self.files: dict[str, Any] = orjson.loads(model_bytes)
        self.json: dict[str, Any] = self.files[TOKENIZER_JSON]
        reason = why_not_byte_level(self.json)
        if reason is not None:
            raise ConfigError(
                f"tokenizer {origin}: {reason}; a tokenizer.json must be a byte-level BPE; use a "
                f"sentencepiece .model for other vocabularies"
            )
        self._tokenizer = build(self.json, origin=origin)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._names: dict[int, str] = {
            token: name for name, token in self._tokenizer.get_vocab(with_added_tokens=True).items()
        }
        self.vocab_size = max(self._names) + 1
        self._added = set(self._tokenizer.get_added_tokens_decoder())
        self._check_added(origin)
        self._bytes = {
            token: data
            for token, name in self._names.items()
            if token not in self._added and (data := to_bytes(name)) is not None
        }
        eos_id = self._named("eos_token", origin)
        if eos_id is None:
            raise ConfigError(
                f"tokenizer {origin}: {CONFIG_JSON} does not name an eos_token; every document "
                f"needs one BOS and one EOS"
            )
        self.eos_id = eos_id
        bos_id = self._named("bos_token", origin)
        self.bos_id = eos_id if bos_id is None else bos_id
        self.pad_id = self._named("pad_token", origin)

    @classmethod
    def load(cls, path: Path) -> ByteLevelTokenizer:
        """Read a `tokenizer.json` and its companions, from the file or its folder.

        Raises:
            ConfigError: If there is none, or it is not a byte-level BPE.
        """
        return cls(bundle(path), origin=str(path))

    def encode(self, text: str) -> NDArray[np.int32]:
        """See `Tokenizer`."""
        try:
            # The fast form skips offsets and exists only for batches.
            (encoded,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        except TypeError as error:
            raise not_unicode(text) from error
        return np.array(encoded.ids, dtype=np.int32)

    def decode(self, ids: Sequence[int] | NDArray[np.int32]) -> str:
        """See `Tokenizer`."""
        text: str = self._tokenizer.decode([int(token) for token in ids], skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str:
        """See `Tokenizer`: in the letters for bytes; empty for an id without a piece."""
        return self._names.get(token, "")

    def readable(self, token: int) -> str:
        """See `Tokenizer`: bytes that are not whole characters are in hexadecimal."""
        data = self._bytes.get(token)
        if data is None:
            return self.piece(token)
        return data.decode() if is_whole(data) else f"<0x{data.hex(' ').upper()}>"

    def is_text(self, token: int) -> bool:
        """See `Tokenizer`: all except added tokens and ids without a piece."""
        return token in self._bytes

    def partial_ids(self) -> NDArray[np.bool_]:
        """See `Tokenizer`: pieces that hold a part of a character."""
        return np.array(
            [not is_whole(self._bytes.get(token, b"")) for token in range(self.vocab_size)],
            dtype=np.bool_,
        )

    def split(self, piece: str) -> list[int]:
        """See `Tokenizer`; a piece may be any bytes, in the letters for them."""
        ids: list[int] = self.merges_alone.encode(piece).ids
        return ids

    def bytes_of(self, token: int) -> bytes:
        """Bytes of an ordinary piece."""
        return self._bytes[token]

    @cached_property
    def merges_alone(self) -> tokenizers.Tokenizer:
        """Tokenizer with only the merges: letters for bytes to ids, without a pre-tokenizer."""
        model = {**self.json["model"], "ignore_merges": False}
        bare = {**self.json, "model": model, "added_tokens": [], "normalizer": None}
        bare |= {"pre_tokenizer": None, "post_processor": None, "truncation": None, "padding": None}
        return build(bare, origin="base")

    @property
    def hugging_face(self) -> tokenizers.Tokenizer:
        """The library's own tokenizer, to encode many texts at once."""
        return self._tokenizer

    def write(self, directory: Path) -> None:
        """Write `tokenizer.json` and its companions into an existing folder."""
        for name, content in self.files.items():
            is_json = name.endswith(".json")
            data = (
                orjson.dumps(content, option=orjson.OPT_INDENT_2) if is_json else content.encode()
            )
            (directory / name).parent.mkdir(exist_ok=True)
            publish(directory / name, data)

    def _check_added(self, origin: str) -> None:
        """Check that the ids `tokenizers` assigns to added tokens are those of the file."""
        for added in self.json.get("added_tokens") or ():
            if self._names.get(added["id"]) != added["content"]:
                raise ConfigError(
                    f"tokenizer {origin}: added token {added['content']!r} has id {added['id']} in "
                    f"the file and another when loaded; list it in model.vocab as well"
                )

    def _named(self, key: str, origin: str) -> int | None:
        """Id of a special token that tokenizer_config.json names; None if it names none."""
        value = self.files.get(CONFIG_JSON, {}).get(key)
        name = value.get("content") if isinstance(value, dict) else value
        if name is None:
            return None
        token: int | None = self._tokenizer.token_to_id(name) if isinstance(name, str) else None
        if token is None:
            raise ConfigError(
                f"tokenizer {origin}: {CONFIG_JSON} names {name!r} as {key}, which is not a piece"
            )
        return token


def is_byte_level_path(path: Path) -> bool:
    """Whether a path holds a byte-level vocabulary rather than a sentencepiece model."""
    if path.is_dir():
        return (path / TOKENIZER_JSON).is_file() and not (path / "tokenizer.model").is_file()
    return path.suffix == ".json"


def is_bundle(data: bytes) -> bool:
    """Whether bytes are an output of `bundle`."""
    return data.startswith(_BUNDLE_START)


def bundle(path: Path) -> bytes:
    """Read a tokenizer.json and its companions into one JSON object, file name -> content.

    Raises:
        ConfigError: If there is none, or a file cannot be read as JSON or text.
    """
    file = path / TOKENIZER_JSON if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"tokenizer {path}: no such file; pass a tokenizer.json or its folder")
    files: dict[str, Any] = {TOKENIZER_JSON: _read(file)}
    for name in companions(file.parent):
        files[name] = _read(file.parent / name)
    return orjson.dumps(files)


def companions(folder: Path) -> list[str]:
    """Files of a folder that belong to its vocabulary, by their paths within it."""
    found = [name for name in COMPANIONS if (folder / name).is_file()]
    more = sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja"))
    return found + [f"{ADDITIONAL_TEMPLATES}/{path.name}" for path in more]


def _read(path: Path) -> Any:
    data = read_limited(path, limit_bytes=SIZE_LIMIT_BYTES)
    try:
        value = orjson.loads(data) if path.suffix == ".json" else data.decode()
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if path.suffix == ".json" and not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def build(value: dict[str, Any], *, origin: str) -> tokenizers.Tokenizer:
    """Create the library's tokenizer from a parsed tokenizer.json; `origin` names it in errors."""
    try:
        return tokenizers.Tokenizer.from_str(orjson.dumps(value).decode())
    except Exception as error:  # the library raises bare Exceptions
        raise ConfigError(f"tokenizer {origin}: not a valid tokenizer.json: {error}") from error


def why_not_byte_level(value: dict[str, Any]) -> str | None:
    """Reason why a parsed tokenizer.json is not a byte-level BPE; None if it is one."""
    model = value.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or "merges" not in model:
        return "its model is not BPE"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "its pieces have a prefix or suffix"
    if model.get("dropout"):
        return "it skips merges at random (dropout)"
    if not _has_byte_level(value.get("pre_tokenizer")):
        return "its pre-tokenizer is not ByteLevel"
    missing = [letter for letter in LETTER_TO_BYTE if letter not in model["vocab"]]
    if missing:
        return f"it has no piece for {len(missing)} of the 256 bytes"
    return None


def _has_byte_level(pre_tokenizer: Any) -> bool:
    if not isinstance(pre_tokenizer, dict):
        return False
    if pre_tokenizer.get("type") == "Sequence":
        return any(map(_has_byte_level, pre_tokenizer.get("pretokenizers", ())))
    return pre_tokenizer.get("type") == "ByteLevel"


def is_whole(data: bytes) -> bool:
    """Whether bytes are whole characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
