r"""Chat templates and special tokens of a model folder, for its vocabulary's Hugging Face form.

Text after a special token has no dummy prefix; text after BOS has one. A normalizer of `tokenizers`
sees only the text between two added tokens. Therefore all special tokens except BOS are matched in
the normalized text: the prefix is added once after BOS, and removed before another special token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linly.config.chat_format import (
    ADDITIONAL_TEMPLATES,
    DEFAULT,
    TEMPLATE_FILE,
    read_added_tokens,
    read_chat_templates,
    read_special_names,
)
from linly.tokenization.model_file import CONTROL, SPACE, UNKNOWN, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer


@dataclass(frozen=True, slots=True)
class ChatTokens:
    """Chat templates and special tokens of a model folder.

    Attributes:
        templates: Chat templates by name; empty if the model has none.
        named: Tokens that its configuration names or lists, by key.
        inside: Special tokens that a chat template writes, except BOS; empty without a template.
        outer: All special tokens.
        lstrip: Special tokens that include the white space before them.
        rstrip: Special tokens that include the white space after them.
    """

    templates: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, Any] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    lstrip: frozenset[str] = frozenset()
    rstrip: frozenset[str] = frozenset()

    def normalizers(self, plain: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adapt the normalizers of a vocabulary to these tokens."""
        if not self.inside:
            return plain
        steps = []
        for names, pattern in ((self.rstrip, r"(?<=NAMES)\s+"), (self.lstrip, r"\s+(?=NAMES)")):
            if eaten := [name for name in self.inside if name in names]:
                steps.append(_replace(pattern.replace("NAMES", _any_of(eaten)), ""))
        spaced = [name.replace(" ", SPACE) for name in self.inside]
        return [*steps, *plain, _replace(f"\\A{SPACE}(?={_any_of(spaced)})", "")]

    def without_special(self, texts: Iterable[str]) -> Iterator[str]:
        """Remove texts that hold a special token, which a chat model does not encode as text."""
        if not self.templates:
            return iter(texts)
        return (text for text in texts if not any(name in text for name in self.outer))


NO_CHAT = ChatTokens()


def read_chat_tokens(
    tokenizer: SentencePieceTokenizer, source: Path | None, chat_template: str | None
) -> ChatTokens:
    """Read the chat templates and special tokens of a model folder.

    Args:
        tokenizer: Vocabulary of the folder.
        source: The folder.
        chat_template: Chat template in place of the folder's own; None for those.

    Raises:
        ConfigError: If one of its files cannot be read.
    """
    if source is None or not source.is_dir():
        return NO_CHAT
    model = parse_model(tokenizer.model_bytes, origin=str(source))
    special = [piece.piece for piece in model.pieces if piece.type in (CONTROL, UNKNOWN)]
    templates = {DEFAULT: chat_template} if chat_template else read_chat_templates(source)
    bos = tokenizer.piece(tokenizer.bos_id)
    added = read_added_tokens(source)
    return ChatTokens(
        templates=templates,
        named=read_special_names(source, frozenset(tokenizer.pieces())),
        inside=tuple(name for name in special if name != bos) if templates else (),
        outer=tuple(special),
        lstrip=frozenset(token["content"] for token in added if token.get("lstrip")),
        rstrip=frozenset(token["content"] for token in added if token.get("rstrip")),
    )


def template_files(templates: Mapping[str, str]) -> dict[str, bytes]:
    """Chat templates as transformers reads them: one per file, by its name in the folder."""
    return {
        TEMPLATE_FILE if name == DEFAULT else f"{ADDITIONAL_TEMPLATES}/{name}.jinja": text.encode()
        for name, text in templates.items()
    }


def _any_of(names: Iterable[str]) -> str:
    ordered = sorted(names, key=len, reverse=True)
    return "|".join(map(re.escape, ordered))


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
