r"""The language of `fields`: paths into a record, and forms that join several of them.

    text   meta.title   title?   `Question?`   meta.`a.b`?   "{title?}\n\n{`text{en}`}"

Dots separate the names of a path. A `?` at the end makes the path optional. A name in backquotes
is literal: it may contain any character or be empty; two backquotes within it are one. A field
with braces outside backquotes is a form: paths in braces, text around them, `{{` and `}}` for
literal braces.

A conversation's fields have one of several forms, by the roles that they name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

_QUOTED = r"`(?:[^`]|``)*`"
_PART = re.compile(rf"(?P<quoted>{_QUOTED})|[^.`][^.]*")
_PATH = re.compile(rf"(?:{_QUOTED}|[^.`][^.]*)(?:\.(?:{_QUOTED}|[^.`][^.]*))*")
_PLAIN_NAME = re.compile(r"[^`.{}?!:\s](?:[^`.{}?!:]*[^`.{}?!:\s])?")
_IN_FORM = re.compile(rf"\{{\{{|\}}\}}|\{{(?P<path>(?:{_QUOTED}|[^`{{}}!:])*)\}}|(?P<stray>[{{}}])")

_TURNS = {
    ("messages", "role", "content"): frozenset({"system", "tools", "weight"}),
    ("messages", "user", "assistant"): frozenset({"system", "tools", "weight"}),
    ("messages",): frozenset({"system", "tools"}),
    ("text", "user_mark", "assistant_mark"): frozenset({"system"}),
}
"""Required fields of each form -> optional fields."""

BESIDE = {
    "system": ("system", "system_prompt", "system_message"),
    "tools": ("tools", "functions"),
}
"""Role -> fields of a record that belong to its conversation; each must be named in `fields`."""

CONVERSATION_FORMS = (
    " or ".join("{" + ", ".join(form) + "}" for form in _TURNS)
    + "; with messages also system, tools and weight, with text also system"
)
"""All forms, for errors."""


def is_form(written: str) -> bool:
    """Return whether a field is a form, not a path."""
    return ("{" in written or "}" in written) and not _is_quoted_path(written)


def parse_path(written: str) -> tuple[tuple[str, ...], bool]:
    """Split a path into (names, whether it is optional).

    Raises:
        ValueError: If a name is empty without backquotes, or a backquote is not closed.
    """
    path = written.removesuffix("?")
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"{written!r} is not a path: a part of it is empty or not closed")
    names = []
    for part in _PART.finditer(path):
        quoted_name = part["quoted"]
        names.append(part[0] if quoted_name is None else quoted_name[1:-1].replace("``", "`"))
    return tuple(names), path != written


def parse_form(written: str) -> list[tuple[str, str | None]]:
    """Split a form into (literal text, the path after it), the last path None.

    Raises:
        ValueError: If a brace is not closed, or holds anything but a path.
    """
    pieces: list[tuple[str, str | None]] = []
    literal, end = "", 0
    for found in _IN_FORM.finditer(written):
        literal += written[end : found.start()]
        end = found.end()
        if found["stray"]:
            raise ValueError(f"the form {written!r} may have only {{path}}s in its braces")
        if found["path"] is None:
            literal += found[0][0]
            continue
        parse_path(found["path"])
        pieces.append((literal, found["path"]))
        literal = ""
    return [*pieces, (literal + written[end:], None)]


def top_names(path: str) -> tuple[str, ...]:
    """Return the top-level field names that a path may refer to, in order of precedence.

    A name that contains dots, such as a table column's, takes precedence over nesting.
    """
    names, _ = parse_path(path)
    plain = path.removesuffix("?")
    return (plain, names[0]) if len(names) > 1 and "`" not in plain else (names[0],)


def write_path(names: Sequence[str]) -> str:
    """Return the path of some names, with backquotes where needed."""
    return ".".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def _is_quoted_path(written: str) -> bool:
    outside = re.sub(_QUOTED, "", written)
    is_path = _PATH.fullmatch(written.removesuffix("?")) is not None
    return is_path and "{" not in outside and "}" not in outside


def is_conversation(roles: Set[str]) -> bool:
    """Return whether these fields match one of the conversation forms."""
    return any(
        roles >= set(form) and roles - set(form) <= beside for form, beside in _TURNS.items()
    )
