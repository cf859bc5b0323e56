"""Applies the corpus file to records: finds their texts, and filters by `where`.

`linly.config.fields` defines the language of paths and forms. A path that meets a list applies its
rest to every element and joins the texts by newlines; a number selects one element (`answers.0`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from linly.config.fields import is_form, parse_form, parse_path
from linly.config.where import Where
from linly.errors import ConfigError

Texts = tuple[tuple[str, str], ...]
"""Texts of a record: (role, text) pairs in an order independent of the record's form."""

MAX_LISTS = 100
"""Maximum number of nested lists at a path; each takes two levels of Python's stack."""

_MAX_FIELDS_SHOWN = 20
_MAX_VALUE_SHOWN = 80
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_HASH_BYTES = 8


class UnusableRecord(Exception):
    """A record does not match its corpus file; the message is the reason."""


_ABSENT = object()


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A dotted path into a record.

    Attributes:
        path: Text of the path, without the `?`.
        parts: Names of the path.
        optional: Whether a record may lack the field; it is empty text then.
    """

    path: str
    parts: tuple[str, ...]
    optional: bool

    @classmethod
    def parse(cls, written: str) -> FieldPath:
        """Parse `a.b` or `a.b?`.

        Raises:
            ConfigError: If a part is empty.
        """
        try:
            parts, optional = parse_path(written)
        except ValueError as error:
            raise ConfigError(f"fields: {error}") from error
        return cls(written.removesuffix("?"), parts, optional)

    def find(self, record: Mapping[str, Any]) -> Any:
        """Return the value at this path; None if it is optional and missing.

        Raises:
            UnusableRecord: If it is missing; names the fields that exist.
        """
        if len(self.parts) == 1:
            value = record.get(self.parts[0], _ABSENT)
        else:
            # A name containing a dot, as a column of a tsv may have, takes precedence over nesting.
            value = record.get(self.path, _ABSENT)
            if value is _ABSENT:
                value = _descend(record, self.parts)
        if value is not _ABSENT:
            return value
        if self.optional:
            return None
        raise UnusableRecord(f"field {self.path!r} is missing; fields found: {_shown(record)}")

    def text(self, record: Mapping[str, Any]) -> str:
        r"""Return the text at this path, "" for null; line breaks (\r\n, \r) become \n.

        Raises:
            UnusableRecord: If it is missing, not text, or text that cannot be trained on.
        """
        value = self.find(record)
        if value is None:
            return ""
        if isinstance(value, list):
            value = _join(value, self.path)
        return clean_text(value, self.path)


@dataclass(frozen=True, slots=True)
class Form:
    """A text built from several fields.

    Attributes:
        pieces: (literal text, path after it or None at the end).
    """

    pieces: tuple[tuple[str, FieldPath | None], ...]

    @classmethod
    def parse(cls, written: str) -> Form:
        """Parse `"{title}: {meta.summary?}"`; `{{` and `}}` stand for braces.

        Raises:
            ConfigError: If a brace is not closed, or contains more than a path.
        """
        try:
            pieces = parse_form(written)
        except ValueError as error:
            raise ConfigError(f"fields: {error}") from error
        return cls(
            tuple((text, None if path is None else FieldPath.parse(path)) for text, path in pieces)
        )

    @property
    def paths(self) -> tuple[FieldPath, ...]:
        """Paths in the form."""
        return tuple(path for _, path in self.pieces if path is not None)

    def text(self, record: Mapping[str, Any]) -> str:
        """Fill the form; "" if all its fields are empty; line breaks at its ends are removed.

        Raises:
            UnusableRecord: If a field has no usable text, as in `FieldPath.text`.
        """
        filled: list[str] = []
        any_text = False
        for literal, path in self.pieces:
            filled.append(literal)
            if path is not None:
                text = path.text(record)
                any_text = any_text or bool(text.strip())
                filled.append(text)
        return "".join(filled).strip("\n") if any_text else ""


def parse_field(written: str) -> FieldPath | Form:
    """Parse a field as written in the corpus file."""
    return Form.parse(written) if is_form(written) else FieldPath.parse(written)


def paths_of(field: FieldPath | Form) -> tuple[FieldPath, ...]:
    """Return the paths that a field reads."""
    return field.paths if isinstance(field, Form) else (field,)


def clean_text(value: object, name: str) -> str:
    r"""Check that `value` is text that a tokenizer accepts; convert its line breaks to \n.

    Raises:
        UnusableRecord: If it is not text, contains NUL, or a lone surrogate (the result of bad
            UTF-8 in a JSON array).
    """
    if not isinstance(value, str):
        raise UnusableRecord(f"field {name!r} is {type(value).__name__}, not text")
    if "\x00" in value:
        raise UnusableRecord(f"field {name!r} holds a NUL character")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UnusableRecord(
                f"field {name!r} holds bad UTF-8 or a lone surrogate at character {error.start}"
            ) from error
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    return value


def require_text(text: str, name: str) -> str:
    """Return `text`, unless it is empty or white space: UnusableRecord then."""
    if not text or text.isspace():
        raise UnusableRecord(f"{name} is empty")
    return text


def is_held_out(texts: Texts, fraction: float) -> bool:
    """Check whether a record is held out, by the hash of its texts.

    So the choice does not depend on template, direction, position or shard, and a text that occurs
    twice is held out twice.

    Args:
        texts: Texts of the record, before any template.
        fraction: Fraction of the records to hold out, 0 to 1.
    """
    if fraction <= 0:
        return False
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    for _, text in texts:
        encoded = text.encode("utf-8")
        # Lengths distinguish ("ab", "c") from ("a", "bc").
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    threshold: int = round(fraction * 256**_HASH_BYTES)
    return int.from_bytes(digest.digest(), "little") < threshold


def compile_where(
    conditions: Iterable[Where], *, numbers_are_text: bool = False
) -> Callable[[Mapping[str, Any]], str | None]:
    """Return a function that returns the reason why `where` excludes a record, None if it does not.

    Every element of a list must meet a condition. Null meets only `not_in`. The function raises
    UnusableRecord if a field of the record or of an element is missing, or cannot be compared.

    Args:
        conditions: Conditions, all of which a record must meet.
        numbers_are_text: Whether text that spells a number compares as the number, and empty text
            is null.
    """
    tests = [(where, FieldPath.parse(where.field), _condition(where)) for where in conditions]

    def left_out(record: Mapping[str, Any]) -> str | None:
        for where, path, holds in tests:
            for value in _values(path, record):
                try:
                    kept = holds(_cell(value, where) if numbers_are_text else value)
                except TypeError as error:
                    raise UnusableRecord(_cannot_compare(where, path, value)) from error
                if not kept:
                    return f"where: {path.path} is {str(value)[:_MAX_VALUE_SHOWN]!r}"
        return None

    return left_out


def _cell(value: Any, where: Where) -> Any:
    """Return the value of a table's cell for comparison with a condition."""
    if not isinstance(value, str):
        return value
    if where.at_least is not None or where.at_most is not None:
        number = _number_in(value)
        return number if number is not None else value if value.strip() else None
    wanted = (where.equal, *(where.in_ or ()), *(where.not_in or ()))
    if value in wanted or not any(type(other) in (int, float) for other in wanted):
        return value
    number = _number_in(value)
    return value if number is None else number


def _number_in(text: str) -> int | float | None:
    """Return the number that a text spells, None if it is not a number."""
    if _NUMBER.fullmatch(text.strip()) is None:
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def _cannot_compare(where: Where, path: FieldPath, value: Any) -> str:
    ((condition, wanted),) = ((k, v) for k, v in where.short_form().items() if k != "field")
    expected = "text" if condition == "matches" else "a number"
    kind = "text" if isinstance(value, str) else type(value).__name__
    shown = repr(value)[:_MAX_VALUE_SHOWN]
    return (
        f"where: field {path.path!r} is {kind} {shown}, but `{condition}: {wanted}` "
        f"compares {expected}; correct the condition, or put one before it that leaves such "
        f"records out"
    )


def _values(path: FieldPath, record: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the value at a path, or those of a list (of lists); None for a missing optional one."""
    pending = [path.find(record)]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(reversed(value))
        elif value is not _ABSENT:
            yield value
        elif path.optional:
            yield None
        else:
            raise UnusableRecord(f"field {path.path!r} is missing in some elements of its list")


def _condition(where: Where) -> Callable[[Any], bool]:
    """Return the function of the one condition that `where` sets."""
    equal, among, not_among = where.equal, where.in_, where.not_in
    at_least, at_most = where.at_least, where.at_most
    if equal is not None:
        return lambda value: _is_one_of(value, (equal,))
    if among is not None:
        return lambda value: _is_one_of(value, among)
    if not_among is not None:
        return lambda value: not _is_one_of(value, not_among)
    if at_least is not None:
        return lambda value: value is not None and bool(_number(value) >= at_least)
    if at_most is not None:
        return lambda value: value is not None and bool(_number(value) <= at_most)
    assert where.matches is not None, "a corpus file's `where` sets one condition"
    pattern = re.compile(where.matches)
    return lambda value: value is not None and pattern.search(value) is not None


def _is_one_of(value: Any, wanted: Iterable[Any]) -> bool:
    """Check whether a value is among others; true and false are not numbers, unlike in Python."""
    is_truth = isinstance(value, bool)
    return any(value == other and isinstance(other, bool) == is_truth for other in wanted)


def _number(value: Any) -> Any:
    """Return a value to compare; TypeError if it is not a number (true and false are not)."""
    if isinstance(value, bool):
        raise TypeError
    return value


def _descend(value: Any, parts: tuple[str, ...], depth: int = 0) -> Any:
    for index, part in enumerate(parts):
        if isinstance(value, list) and part.isdecimal():
            if int(part) >= len(value):
                return _ABSENT
            value = value[int(part)]
            continue
        if isinstance(value, list):
            _check_depth(depth, part)
            return [_descend(element, parts[index:], depth + 1) for element in value]
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _check_depth(depth: int, name: str) -> None:
    if depth >= MAX_LISTS:
        raise UnusableRecord(f"field {name!r} is in lists nested deeper than {MAX_LISTS}")


def _join(elements: list[Any], name: str, depth: int = 0) -> str:
    """Join the texts of a list (of lists) by newlines."""
    _check_depth(depth, name)
    if any(element is _ABSENT for element in elements):
        raise UnusableRecord(f"field {name!r} is missing in some elements of its list")
    texts = (
        _join(e, name, depth + 1) if isinstance(e, list) else e for e in elements if e is not None
    )
    return "\n".join(clean_text(text, name) for text in texts)


def _shown(record: Mapping[str, Any]) -> str:
    names = [repr(name) for name in record]
    more = len(names) - _MAX_FIELDS_SHOWN
    shown = ", ".join(names[:_MAX_FIELDS_SHOWN]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown
