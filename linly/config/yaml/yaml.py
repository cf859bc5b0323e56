"""The strict YAML reader: plain data with the file and line of every value, nothing executed.

PyYAML's parser supplies events only; its constructors, which turn `no` into False, keep
`1e-4` as text, let the second of two equal keys win and build Python objects, are never used.
Plain scalars follow the YAML 1.2 core schema.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from linly.errors import ConfigError, LinlyError
from linly.files import read_limited
from linly.shipped import shipped_path

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_MAX_NUMBER_CHARACTERS = 64

Scalar = None | bool | int | float | str

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONG_ESCAPE = re.compile(r"\\U([0-9A-Fa-f]{8})")
_YAML_1_1_BREAKS = re.compile("[\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a value: `str()` returns `file:line`, or the override's text.

    Attributes:
        source: File as shown to the user, or `override KEY=VALUE`.
        line: Line number from 1; None for an override.
        folder: Folder that relative paths in the value are relative to.
    """

    source: str
    line: int | None
    folder: Path

    def __str__(self) -> str:
        """Return the origin as it begins a message."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Located:
    """A value of a YAML document and the origin of its key (for a list item, of the item)."""

    value: Scalar | dict[str, Located] | list[Located]
    origin: Origin

    def plain(self) -> Any:
        """Return the value without origins: dict, list and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def get(self, *path: str | int) -> Located | None:
        """Return the value at a key path; None if there is none."""
        here: Located = self
        for part in path:
            if isinstance(here.value, dict) and part in here.value:
                here = here.value[str(part)]
            elif isinstance(here.value, list) and isinstance(part, int) and part < len(here.value):
                here = here.value[part]
            else:
                return None
        return here

    def nearest(self, path: tuple[str | int, ...]) -> Located:
        """Return the value at a key path, or at its longest prefix that exists."""
        here = self
        for part in path:
            found = here.get(part)
            if found is None:
                break
            here = found
        return here


def shown(path: Path) -> str:
    """Return a file's name for messages: relative to the working directory if below it."""
    absolute, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else str(path)


def read_yaml(path: Path) -> Located:
    """Read one YAML document.

    Args:
        path: File, or the name of one that comes with linly (`linly:recipes/base.yaml`).

    Raises:
        ConfigError: If the file is not plain YAML 1.2 data: tags, anchors, aliases, duplicate
            keys, keys that are not scalars, several documents, numbers that are not finite, more
            than 1 MiB, nesting deeper than 32, bad UTF-8. Names file and line.
    """
    path = shipped_path(str(path)) or path
    name = shown(path)
    try:
        data = read_limited(path, limit_bytes=MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from error
    except LinlyError as error:
        raise ConfigError(str(error)) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{name}:{line}: not UTF-8: found byte 0x{data[error.start]:02x}"
        ) from error
    return parse_yaml(text, Origin(name, 1, path.absolute().parent))


def parse_yaml(text: str, origin: Origin) -> Located:
    """Parse a document's text; if the origin has no line, it is the origin of every value."""
    return _Builder(text, origin).document()


def resolve_plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar by the YAML 1.2 core schema.

    Raises:
        ValueError: If it is a number that is not finite or longer than 64 characters.
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"found {text}, allowed: a finite number")
    is_int = _INT.fullmatch(text)
    is_based = _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text)
    if not (is_int or is_based or _FLOAT.fullmatch(text)):
        return text
    if len(text) > _MAX_NUMBER_CHARACTERS:
        raise ValueError(f"found a number of {len(text)} characters, allowed: at most 64")
    if is_int:
        return int(text)
    if is_based:
        return int(text, 0)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"found {text}, allowed: a number below 1.8e308")
    return number


class _Builder:
    """Turn parser events into located values; refuse anything that is not strict YAML."""

    def __init__(self, text: str, origin: Origin) -> None:
        self._source = text
        self._origin = origin
        self._events: Iterator[Any] = iter(())

    def document(self) -> Located:
        separator = _YAML_1_1_BREAKS.search(self._source)
        if separator:  # PyYAML takes these for line ends, YAML 1.2 does not
            line = self._source.count("\n", 0, separator.start())
            code = f"U+{ord(separator[0]):04X}"
            raise self._error(line, f'found {code}: write it as an escape in "double quotes"')
        try:
            self._events = yaml.parse(self._source, Loader=yaml.SafeLoader)
            return self._root()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            context = f" ({error.context})" if error.context else ""
            line = mark.line if mark else 0
            raise self._error(line, f"not YAML: {error.problem}{context}") from error
        except yaml.reader.ReaderError as error:
            line = self._source.count("\n", 0, error.position)
            raise self._error(line, f"not YAML: found character {error.character!r}") from error
        except (ValueError, OverflowError) as error:  # chr() of an escape past the last character
            escapes = _LONG_ESCAPE.finditer(self._source)
            start = next((m.start() for m in escapes if int(m[1], 16) > sys.maxunicode), 0)
            line = self._source.count("\n", 0, start)
            raise self._error(line, "not YAML: found an escape past U+10FFFF") from error

    def _root(self) -> Located:
        root: Located | None = None
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            line = event.start_mark.line if event.start_mark else 0
            if root is not None:
                raise self._error(line, "found a second document ('---')")
            if event.tags or event.version not in (None, (1, 2)):
                raise self._error(line, "found a directive, allowed is %YAML 1.2 only")
            root = self._node(next(self._events), (), self._at(line))
        return root if root is not None else Located(None, self._at(0))

    def _node(self, event: Any, path: tuple[str | int, ...], origin: Origin) -> Located:
        self._refuse_properties(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return Located(self._scalar(event, path), origin)
        if len(path) >= MAX_DEPTH:
            raise self._error(
                event.start_mark.line, f"found nesting deeper than {MAX_DEPTH}", path[:4]
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return Located(self._sequence(path), origin)
        return Located(self._mapping(path), origin)

    def _refuse_properties(self, event: Any, path: tuple[str | int, ...]) -> None:
        line = event.start_mark.line
        if isinstance(event, yaml.AliasEvent):
            raise self._error(line, f"found the alias '*{event.anchor}': write the value out", path)
        if event.anchor is not None:
            raise self._error(line, f"found the anchor '&{event.anchor}', allowed are none", path)
        if event.tag is not None:
            raise self._error(line, f"found the tag '{event.tag}', allowed are none", path)

    def _text(self, event: Any, path: tuple[str | int, ...]) -> str:
        text: str = event.value
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error(event.start_mark.line, "found half a surrogate pair", path)
        return text

    def _scalar(self, event: Any, path: tuple[str | int, ...]) -> Scalar:
        text = self._text(event, path)
        if event.style is not None:
            return text
        try:
            return resolve_plain(text)
        except ValueError as error:
            raise self._error(event.start_mark.line, str(error), path) from error

    def _sequence(self, path: tuple[str | int, ...]) -> list[Located]:
        items: list[Located] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), self._at(event.start_mark.line)))
        return items

    def _mapping(self, path: tuple[str | int, ...]) -> dict[str, Located]:
        entries: dict[str, Located] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(line, "found a key that is not plain text", path)
            self._refuse_properties(event, path)
            key = self._text(event, path)  # its text: `no` and `1e-4` are names like any other
            if not key:
                raise self._error(line, "found an empty key", path)
            if key in entries:
                first = entries[key].origin
                raise self._error(line, f"the key is written twice, first at {first}", (*path, key))
            entries[key] = self._node(next(self._events), (*path, key), self._at(line))
        return entries

    def _at(self, line: int) -> Origin:
        if self._origin.line is None:
            return self._origin
        return Origin(self._origin.source, line + 1, self._origin.folder)

    def _error(self, line: int, text: str, path: tuple[str | int, ...] = ()) -> ConfigError:
        key = f"{key_text(path)}: " if path else ""
        return ConfigError(f"{self._at(line)}: {key}{text}")


def key_text(path: tuple[str | int, ...]) -> str:
    """Return a key path as the user would write it: `mixture.english.ratio`, `where[0].field`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


class _Dumper(yaml.SafeDumper):
    """Write YAML for the strict reader: no aliases, text quoted if it looks like another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    try:
        is_one_line = "\n" not in data and not _YAML_1_1_BREAKS.search(data)
        is_plain = is_one_line and resolve_plain(data) == data
    except ValueError:
        is_plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=None if is_plain else '"')


_Dumper.add_representer(str, _represent_text)


def write_yaml(value: Any) -> str:
    """Return plain data as YAML text that `parse_yaml` reads back equal: a line for each text.

    Keys keep their order.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)


def write_inline(value: Any) -> str:
    """Return plain data as YAML text on one line, for use after a key of a block."""
    is_nested = isinstance(value, dict | list)
    text: str = yaml.dump(
        [value],
        Dumper=_Dumper,
        default_flow_style=is_nested,
        sort_keys=False,
        allow_unicode=True,
        width=math.inf,
    )
    return text.strip()[1:-1] if is_nested else text.strip().removeprefix("- ")
