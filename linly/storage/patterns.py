"""File patterns: matching of names, and expansion over local or remote folders.

    pattern -> Pattern -> expand over Folders -> (path, entry)

`*`, `?` and `[...]` match as in `fnmatch`, within one name; `**` matches any number of folders. As
in a shell, a wildcard at the start of a name does not match a leading dot. Over http, unquoted
names are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from linly.storage.urls import is_url, is_web, name_of, unquoted

_E = TypeVar("_E")
_WILDCARD = re.compile(r"(\*+|\?|\[!?\]?[^\]]*\])")
_ANY_DEPTH = "**"
_FOLDERS = r"((?:(?!\.)[^/]+/)*)"
_BELOW = r"((?:(?!\.)[^/]+/)*(?!\.)[^/]+)"


class Folders(Protocol[_E]):
    """Folders of local or remote storage that can be listed."""

    def entries(self, folder: str) -> Iterable[tuple[str, _E]]:
        """List the names in a folder, each with its entry.

        Raises:
            DataError: If it cannot be listed.
        """

    def is_folder(self, folder: str, entry: _E) -> bool:
        """Return whether an entry is a folder to descend into.

        Raises:
            DataError: If the entry cannot be examined.
        """


class Pattern:
    """A path below a folder or a URL, which may have wildcards.

    Attributes:
        path: Parts of the pattern, joined.
        folder: Parts before the first one with a wildcard, joined.
        has_wildcards: Whether any part has a wildcard; otherwise `path` names one file.
    """

    def __init__(self, text: str) -> None:
        """Parse a pattern."""
        self._name = unquoted if is_web(text) else str
        server, parts = _split(text)
        literal = list(takewhile(lambda part: not _WILDCARD.search(part), parts))
        self.path = "/".join([*server, *parts])
        self.folder = "/".join([*server, *literal])
        self.has_wildcards = len(literal) < len(parts)
        self._below = parts[len(literal) :]
        expressions = [_expression(part, self._name) for part in parts]
        self._names = [re.compile(e, re.DOTALL) for e in expressions[len(literal) :]]
        start = "".join(re.escape(f"{name_of(one)}/") for one in server)
        self._whole = re.compile(start + _path_expression(parts, expressions), re.DOTALL)

    def match(self, path: str) -> tuple[str, ...] | None:
        """Return the texts that the wildcards match in a path; None if it does not match."""
        found = self._whole.fullmatch(name_of(path))
        return None if found is None else found.groups()

    def expand(self, folders: Folders[_E]) -> Iterator[tuple[str, _E]]:
        """Iterate over matching entries below `folder`, each once; the caller selects the files.

        Each folder is listed once, even if the pattern matches it in several ways.

        Raises:
            DataError: If a folder cannot be listed.
        """
        todo = [(self.folder, self._with_no_folders({0}))]
        while todo:
            folder, at = todo.pop()
            for name, entry in folders.entries(folder):
                path = f"{folder}/{name}" if folder else name
                below, matches = self._after(at, name)
                if matches:
                    yield path, entry
                if below and folders.is_folder(folder, entry):
                    todo.append((path, self._with_no_folders(below)))

    def _after(self, at: frozenset[int], name: str) -> tuple[set[int], bool]:
        """Return the parts that names in the folder `name` may match, and whether it matches."""
        name = self._name(name)
        below, matches, last = set(), False, len(self._below) - 1
        for index in at:
            if self._names[index].fullmatch(name):
                matches |= index == last
                if self._below[index] == _ANY_DEPTH:
                    below.add(index)
                elif index < last:
                    below.add(index + 1)
        return below, matches

    def _with_no_folders(self, at: set[int]) -> frozenset[int]:
        """Add the parts after each `**`, which may also match no folder."""
        for index, part in enumerate(self._below[:-1]):
            if index in at and part == _ANY_DEPTH:
                at.add(index + 1)
        return frozenset(at)


def _split(text: str) -> tuple[list[str], list[str]]:
    """Split into scheme and server (none for a local path), and the parts after them."""
    if not is_url(text):
        return [], list(PurePosixPath(text).parts)
    scheme, _, rest = text.partition("://")
    server, *parts = rest.split("/")
    return [f"{scheme}://{server}"], parts


def _path_expression(parts: list[str], expressions: list[str]) -> str:
    """Build a regular expression for a whole path from those for its names."""
    last = len(parts) - 1
    return "".join(
        (_BELOW if index == last else _FOLDERS)
        if part == _ANY_DEPTH
        else expressions[index] + "/" * (index < last)
        for index, part in enumerate(parts)
    )


def _expression(part: str, name: Callable[[str], str]) -> str:
    """Build a regular expression for one name, with a group for each wildcard.

    Args:
        part: Part of a pattern.
        name: Function that maps literal text between wildcards to the text to match.
    """
    pieces = _WILDCARD.split(part)
    expressions = ["" if pieces[0] or len(pieces) == 1 else r"(?!\.)"]
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            expressions.append(re.escape(name(piece)))
        elif piece[0] == "*":
            expressions.append("([^/]*)")
        else:
            one = translate(piece)  # (?s:...) and the end
            expressions.append(f"((?!/){one[len('(?s:') : one.rindex(')')]})")
    return "".join(expressions)
