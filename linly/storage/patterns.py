"""Patterns of files: which names match one, and which files below a folder, wherever it is.

    pattern -> Pattern -> expand over Folders -> (path, entry)

`*`, `?` and `[...]` stand for what `fnmatch` says, within one name; `**` for any number of
folders. As in a shell, a wildcard at the beginning of a name stands for no leading dot. Over http
names are compared as they are unquoted.
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
    """How folders of some place are listed."""

    def entries(self, folder: str) -> Iterable[tuple[str, _E]]:
        """Names in a folder, and what is known of each.

        Raises:
            DataError: It cannot be listed.
        """

    def is_folder(self, folder: str, entry: _E) -> bool:
        """Whether an entry of a folder is one whose names are looked at too.

        Raises:
            DataError: That cannot be told.
        """


class Pattern:
    """A path below a folder or a URL, which may have wildcards.

    Attributes:
        path: Its parts, joined.
        folder: Those before the first with a wildcard.
        has_wildcards: Without, `path` is that of one file.
    """

    def __init__(self, text: str) -> None:
        """Read a pattern."""
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
        """What its wildcards stand for in a path; None where it does not match."""
        found = self._whole.fullmatch(name_of(path))
        return None if found is None else found.groups()

    def expand(self, folders: Folders[_E]) -> Iterator[tuple[str, _E]]:
        """Everything below `folder` that matches, each once; what is a file is left to the caller.

        A folder is listed once, however many ways lead the pattern through it.

        Raises:
            DataError: A folder cannot be listed.
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
        """Which parts names in the folder `name` may match, and whether it is itself a match."""
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
        """With the parts behind each `**`, which stands for no folder as well."""
        for index, part in enumerate(self._below[:-1]):
            if index in at and part == _ANY_DEPTH:
                at.add(index + 1)
        return frozenset(at)


def _split(text: str) -> tuple[list[str], list[str]]:
    """Scheme and server of a URL, none of a local path; and the parts that come behind."""
    if not is_url(text):
        return [], list(PurePosixPath(text).parts)
    scheme, _, rest = text.partition("://")
    server, *parts = rest.split("/")
    return [f"{scheme}://{server}"], parts


def _path_expression(parts: list[str], expressions: list[str]) -> str:
    """A regular expression for a whole path, of those for its names."""
    last = len(parts) - 1
    return "".join(
        (_BELOW if index == last else _FOLDERS)
        if part == _ANY_DEPTH
        else expressions[index] + "/" * (index < last)
        for index, part in enumerate(parts)
    )


def _expression(part: str, name: Callable[[str], str]) -> str:
    """A regular expression for one name, with a group for each wildcard.

    Args:
        part: Of a pattern.
        name: What text between the wildcards stands for.
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
