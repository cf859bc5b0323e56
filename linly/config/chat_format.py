"""A model's chat format: its template and special tokens, as its tokenizer's files name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import Model
from linly.errors import ConfigError
from linly.files import read_limited

CHAT_TEMPLATES = frozenset({"chat", "inscp"})
"""Templates of documents that need a chat format."""

TEMPLATE_FILE, TEMPLATE_JSON, ADDITIONAL_TEMPLATES = (
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)
CONFIG_FILE, TOKENIZER_FILE, ADDED_FILE = (
    "tokenizer_config.json",
    "tokenizer.json",
    "added_tokens.json",
)
MODEL_FILE = "tokenizer.model"
_DEFAULTS = {"bos_token": "<s>", "eos_token": "</s>"}
DEFAULT = "default"
"""Name of the template that is used unless another is requested."""

_LIMIT_BYTES = 256 << 20
_TEMPLATE_LIMIT_BYTES = 1 << 20


class ChatFormat(Model):
    """Format in which a model was trained to read conversations.

    Attributes:
        template: Jinja template, as Hugging Face's `apply_chat_template` renders it.
        tokens: Tokens that the template may refer to by name: `bos_token`, `eos_token`, ...
        special_tokens: Names in the rendered text that are one token each. Within messages they
            are plain text.
        lstrip: Special tokens that absorb the white space before them.
        rstrip: Special tokens that absorb the white space after them (Phi-3's do).
        tool_use: Template for conversations with tools, if it differs from `template`.
    """

    template: Text
    tokens: dict[str, str]
    special_tokens: tuple[str, ...]
    lstrip: tuple[str, ...] = ()
    rstrip: tuple[str, ...] = ()
    tool_use: Text | None = None


def read_chat_format(folder: Path) -> ChatFormat:
    """Read the chat format in a model folder.

    Raises:
        ConfigError: If there is no chat template, or one of its files cannot be read.
    """
    templates = read_chat_templates(folder)
    if DEFAULT not in templates:
        raise ConfigError(
            f"{folder}: no chat template: neither {TEMPLATE_FILE} nor a chat_template in "
            f"{CONFIG_FILE} or {TEMPLATE_JSON}; put the chat model's there, or use another "
            f"template (linly generate has --template)"
        )
    added = [token for token in read_added_tokens(folder) if token.get("special")]
    tokens = _with_defaults(read_named_tokens(folder), folder)
    listed = _listed(_read_json(folder / CONFIG_FILE))
    names = {*tokens.values(), *listed, *(token["content"] for token in added)}
    return ChatFormat(
        template=templates[DEFAULT],
        tokens=tokens,
        special_tokens=tuple(sorted(names)),
        lstrip=_names_with(added, "lstrip"),
        rstrip=_names_with(added, "rstrip"),
        tool_use=templates.get("tool_use"),
    )


def read_chat_templates(folder: Path) -> dict[str, str]:
    """Read the chat templates of a model folder by name, `default` first if present.

    A template file takes precedence over the tokenizer's configuration, as in transformers.

    Raises:
        ConfigError: If a file cannot be read.
    """
    found: dict[str, str] = {}
    for name in (CONFIG_FILE, TEMPLATE_JSON):
        found |= _named_templates(_read_json(folder / name).get("chat_template"))
    if (folder / TEMPLATE_FILE).is_file():
        found[DEFAULT] = _read_text(folder / TEMPLATE_FILE)
    for path in sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja")):
        found[path.stem] = _read_text(path)
    return {name: found[name] for name in sorted(found, key=lambda name: name != DEFAULT)}


def read_named_tokens(folder: Path) -> dict[str, str]:
    """Read the tokens that a tokenizer_config.json names: `bos_token`, `eos_token`, ..."""
    return {
        key: name
        for key, value in _read_json(folder / CONFIG_FILE).items()
        if key.endswith("_token") and (name := _name(value))
    }


def _with_defaults(named: dict[str, str], folder: Path) -> dict[str, str]:
    """Add transformers' default names to a sentencepiece folder that does not name its tokens."""
    if not (folder / MODEL_FILE).is_file():
        return named
    config = _read_json(folder / CONFIG_FILE)
    return {key: name for key, name in _DEFAULTS.items() if key not in config} | named


def read_special_names(folder: Path, pieces: frozenset[str]) -> dict[str, Any]:
    """Read the special tokens of a tokenizer_config.json that are pieces of the vocabulary."""
    config = _read_json(folder / CONFIG_FILE)
    found: dict[str, Any] = {}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = config.get(key)
        if isinstance(value, dict):
            found[key] = {k: _name(v) for k, v in value.items() if _name(v) in pieces}
        elif value:  # transformers 4 wants a mapping under the other key
            found["additional_special_tokens"] = [n for v in value if (n := _name(v)) in pieces]
    named = {k: name for k, name in read_named_tokens(folder).items() if name in pieces}
    return {key: value for key, value in (found | named).items() if value}


def read_num_rows(folder: Path) -> int | None:
    """Read the number of embedding rows of a model folder; None without a configuration."""
    rows = _read_json(folder / "config.json").get("vocab_size")
    return rows if isinstance(rows, int) else None


def read_added_tokens(folder: Path) -> list[dict[str, Any]]:
    """Read the added tokens of a model folder by id: {id, content, special, lstrip, rstrip, ...}.

    They are in tokenizer.json, in the configuration's `added_tokens_decoder`, or in
    added_tokens.json, which holds only names and ids.

    Raises:
        ConfigError: If a file cannot be read.
    """
    config = _read_json(folder / CONFIG_FILE)
    special = {*read_named_tokens(folder).values(), *_listed(config)}
    found: dict[int, dict[str, Any]] = {}
    for name, token in _read_json(folder / ADDED_FILE).items():
        if isinstance(token, int):
            found[token] = {"content": name, "special": name in special}
    decoder = config.get("added_tokens_decoder")
    for key, value in decoder.items() if isinstance(decoder, dict) else ():
        if key.isdecimal() and isinstance(value, dict):
            found[int(key)] = value
    for value in _read_json(folder / TOKENIZER_FILE).get("added_tokens") or ():
        if isinstance(value, dict) and isinstance(value.get("id"), int):
            found[value["id"]] = value
    return [{**found[token], "id": token} for token in sorted(found) if _name(found[token])]


def _names_with(added: list[dict[str, Any]], flag: str) -> tuple[str, ...]:
    return tuple(sorted(token["content"] for token in added if token.get(flag)))


def _named_templates(written: object) -> dict[str, str]:
    """Normalize a configuration's templates: one template, a list of named ones, or a mapping."""
    if isinstance(written, str) and written:
        return {DEFAULT: written}
    if isinstance(written, list):
        pairs = [(t.get("name"), t.get("template")) for t in written if isinstance(t, dict)]
    else:
        pairs = list(written.items()) if isinstance(written, dict) else []
    return {n: t for n, t in pairs if isinstance(n, str) and isinstance(t, str) and t}


def _read_text(path: Path) -> str:
    try:
        return read_limited(path, limit_bytes=_TEMPLATE_LIMIT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error}") from error


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
    """Return the special tokens that a tokenizer_config.json lists, in any of its past forms."""
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
