"""A model's chat format: its template and special tokens, as its tokenizer's files name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from linly.config.model import Model
from linly.config.quantities import Text
from linly.errors import ConfigError
from linly.files import read_limited

CHAT_TEMPLATES = frozenset({"chat", "inscp"})
"""Templates of documents that need a chat format."""

TEMPLATE_FILE, CONFIG_FILE, TOKENIZER_FILE = (
    "chat_template.jinja",
    "tokenizer_config.json",
    "tokenizer.json",
)
_LIMIT_BYTES = 256 << 20
_TEMPLATE_LIMIT_BYTES = 1 << 20


class ChatFormat(Model):
    """What writes a conversation as a model was taught to read it.

    Attributes:
        template: Jinja, as Hugging Face's `apply_chat_template` renders it.
        tokens: What the template may call by name: `bos_token`, `eos_token`, ...
        special_tokens: Names in the rendered text that are one token each; in what people say
            they are text.
    """

    template: Text
    tokens: dict[str, str]
    special_tokens: tuple[str, ...]

    def file_form(self) -> dict[str, Any]:
        """As plain data that reads back equal."""
        return {
            "template": self.template,
            "tokens": dict(self.tokens),
            "special_tokens": list(self.special_tokens),
        }


def read_chat_format(folder: Path) -> ChatFormat:
    """Read the chat format in a model folder.

    Raises:
        ConfigError: There is none, or a file of it cannot be read.
    """
    config = _read_json(folder / CONFIG_FILE)
    tokens = {
        key: name
        for key, value in config.items()
        if key.endswith("_token") and (name := _name(value))
    }
    special = {*tokens.values(), *_listed(config)}
    for added in _read_json(folder / TOKENIZER_FILE).get("added_tokens", []):
        if isinstance(added, dict) and added.get("special") and (name := _name(added)):
            special.add(name)
    return ChatFormat(
        template=_template(folder, config), tokens=tokens, special_tokens=tuple(sorted(special))
    )


def _template(folder: Path, config: dict[str, Any]) -> str:
    path = folder / TEMPLATE_FILE
    if path.is_file():
        try:
            return read_limited(path, limit_bytes=_TEMPLATE_LIMIT_BYTES).decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8: {error}") from error
    written = config.get("chat_template")
    if isinstance(written, list):
        named = [t for t in written if isinstance(t, dict) and t.get("name") == "default"]
        written = named[0].get("template") if named else None
    if not isinstance(written, str) or not written:
        raise ConfigError(
            f"{folder}: no chat template: neither {TEMPLATE_FILE} nor a chat_template in "
            f"{CONFIG_FILE}; put the chat model's there, or use another template"
        )
    return written


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_limited(path, limit_bytes=_LIMIT_BYTES))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: found {type(value).__name__}, allowed: a JSON object")
    return value


def _listed(config: dict[str, Any]) -> list[str]:
    """Special tokens that a tokenizer_config.json lists, in any of the forms it has had."""
    found: list[Any] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = config.get(key)
        found += value.values() if isinstance(value, dict) else value or []
    added = config.get("added_tokens_decoder")
    if isinstance(added, dict):
        found += [t for t in added.values() if isinstance(t, dict) and t.get("special")]
    return [name for value in found if (name := _name(value))]


def _name(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
