r"""The language of `fields`: paths into a record, and forms that join several of them.

    text   meta.title   title?   `Question?`   meta.`a.b`?   "{title?}\n\n{`text{en}`}"

Dots part the names of a path, and a `?` at its end says that a record may lack it. A name between
backquotes is taken as it is, so that it may hold any character or none; two backquotes within one
stand for one. With braces outside of backquotes a field is a form: paths in braces, text around
them, `{{` and `}}` for braces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUOTED = r"`(?:[^`]|``)*`"
_PART = re.compile(rf"(?P<quoted>{_QUOTED})|[^.`][^.]*")
_PATH = re.compile(rf"(?:{_QUOTED}|[^.`][^.]*)(?:\.(?:{_QUOTED}|[^.`][^.]*))*")
_PLAIN_NAME = re.compile(r"[^`.{}?!:\s](?:[^`.{}?!:]*[^`.{}?!:\s])?")
_IN_FORM = re.compile(rf"\{{\{{|\}}\}}|\{{(?P<path>(?:{_QUOTED}|[^`{{}}!:])*)\}}|(?P<stray>[{{}}])")


def is_form(written: str) -> bool:
    """Tell if a field is a form, not a path."""
    return ("{" in written or "}" in written) and not _is_quoted_path(written)


def parse_path(written: str) -> tuple[tuple[str, ...], bool]:
    """Split a path: (names, True if a record may lack it).

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
            raise ValueError(f"the form {written!r} may hold only {{path}}s in its braces")
        if found["path"] is None:
            literal += found[0][0]
            continue
        parse_path(found["path"])
        pieces.append((literal, found["path"]))
        literal = ""
    return [*pieces, (literal + written[end:], None)]


def top_names(path: str) -> tuple[str, ...]:
    """Return the names that a record's own field may have for a path, the first one first.

    A name with dots in it, as a table's column may have, comes before nesting.
    """
    names, _ = parse_path(path)
    plain = path.removesuffix("?")
    return (plain, names[0]) if len(names) > 1 and "`" not in plain else (names[0],)


def write_path(names: Sequence[str]) -> str:
    """Return the path of some names, between backquotes where they need them."""
    return ".".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def _is_quoted_path(written: str) -> bool:
    outside = re.sub(_QUOTED, "", written)
    is_path = _PATH.fullmatch(written.removesuffix("?")) is not None
    return is_path and "{" not in outside and "}" not in outside
