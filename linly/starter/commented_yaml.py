"""YAML with a reason beside each value: lines whose comments stand in one column."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from linly.config.yaml.yaml import write_inline

WIDTH = 100
_COLUMN = 36
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value and a comment.

    Attributes:
        key: Key.
        value: Scalar, or a list or mapping to write on the line; None opens a section.
        comment: Reason for the value; long ones go above the key.
        depth: Number of sections around the key.
    """

    key: str
    value: Any
    comment: str = ""
    depth: int = 0


def commented_yaml(head: str, entries: Iterable[Entry]) -> str:
    """Write a mapping with comments, below a comment that describes the file."""
    lines = _comment_lines(head, "")
    for entry in entries:
        indent = _INDENT * entry.depth
        written = f"{indent}{entry.key}:"
        if entry.value is not None:
            written += f" {_inline(entry.value)}"
        beside = f"{written.ljust(_COLUMN)} # {entry.comment}"
        if not entry.comment:
            lines.append(written)
        elif len(written) <= _COLUMN and len(beside) <= WIDTH:
            lines.append(beside)
        else:
            lines += [*_comment_lines(entry.comment, indent), written]
    return "\n".join(lines) + "\n"


def _comment_lines(text: str, indent: str) -> list[str]:
    """Wrap paragraphs; an indented one, such as a command, stays on its line."""
    width = WIDTH - len(indent) - 2
    lines = [
        line
        for part in text.split("\n")
        for line in ([part] if part.startswith(" ") else textwrap.wrap(part, width))
    ]
    return [f"{indent}# {line}" for line in lines]


def _inline(value: Any) -> str:
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else write_inline(value)
