"""JSON arrays read an element at a time: memory is one element's, however long the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import NoReturn

from linly.errors import DamagedShardError, DataError
from linly.streams import CHUNK_BYTES, MAX_LINE_BYTES, Readable

MAX_DEPTH = 500
"""Of arrays and objects within an element; what the json module takes depends on its caller."""

_NUMBER_LOOKAHEAD = 3
_SPACE = re.compile(r"[ \t\r\n]*")
_MARK = re.compile(r'[\[{]|([\]}])|"[^"\\]*(?:\\.[^"\\]*)*("?)', re.DOTALL)
"""An opening bracket, a closing one (1), or a string, with its end (2) if that is at hand."""
_SCALAR = re.compile(r"[^,\] \t\r\n]*")


def array_elements(stream: Readable) -> Iterator[tuple[object, int, str | None]]:
    """Yield (element, size of its text in bytes, None) of the JSON array in a stream.

    What is not UTF-8 in a string ends as lone surrogates: not text, but the array goes on. So it
    does after an element that says what cannot be taken (an integer of more than 4,300 digits,
    NaN, nesting deeper than 500): it is None, and the reason stands in the place of the last None.

    Raises:
        DataError: It is no array.
        DamagedShardError: It is cut short, or broken: what follows cannot be found then.
    """
    yield from _ArrayText(stream).elements()


class _ArrayText:
    """The text of a JSON array, read on as its elements are taken.

    The json module's own scanner finds where an element ends, so an element that reaches past
    the text at hand is tried again with twice as much.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self._scan = json.JSONDecoder(strict=False, parse_constant=_refuse).raw_decode
        self._text = ""
        self._start = 0
        self._ended = False

    def elements(self) -> Iterator[tuple[object, int, str | None]]:
        first = self._skip_space()
        if first != "[":
            raise DataError(
                f"not a JSON array: it starts with {first!r}; if it holds one object a line, "
                f"say `format: jsonl`"
            )
        self._start += 1
        number = 0
        mark = self._skip_space()
        while mark != "]":
            yield self._element(number)
            number += 1
            mark = self._skip_space()
            if mark == ",":
                self._start += 1
                mark = self._skip_space()
            elif mark != "]":
                raise DamagedShardError(self._broken(number, mark))
        self._start += 1
        if rest := self._skip_space():
            raise DamagedShardError(f"text after the end of the JSON array, starting with {rest!r}")

    def _broken(self, number: int, mark: str) -> str:
        if not mark:
            return f"the JSON array is cut short: it ends after element {number - 1}"
        return (
            f"the JSON array is broken after element {number - 1}: {mark!r} instead of ',' or ']'"
        )

    def _element(self, number: int) -> tuple[object, int, str | None]:
        while True:
            try:
                value, end = self._scan(self._text, self._start)
            except json.JSONDecodeError as error:
                self._check_goes_on(number, str(error))
            except RecursionError:
                return None, self._pass_over(number), _TOO_DEEP
            except _NoJson as error:
                return None, self._pass_over(number), str(error)
            except ValueError:
                return None, self._pass_over(number), "not JSON: an integer of too many digits"
            else:
                # A number may go on past the text at hand: 12|34, 1.|5, 1e+|5.
                if end + _NUMBER_LOOKAHEAD <= len(self._text) or self._ended:
                    size_bytes, is_too_deep = self._take(end)
                    return (
                        (None, size_bytes, _TOO_DEEP) if is_too_deep else (value, size_bytes, None)
                    )
            self._read_on()

    def _take(self, end: int) -> tuple[int, bool]:
        """Go behind an element; give the bytes of its text, and if it is nested too deep."""
        text = self._text[self._start : end]
        self._start = end
        is_too_deep = _may_be_too_deep(text) and _extent(text, 0)[1] > MAX_DEPTH
        return len(text.encode("utf-8", "surrogateescape")), is_too_deep

    def _pass_over(self, number: int) -> int:
        """Go behind an element that cannot be taken; give the bytes of its text.

        Raises:
            DamagedShardError: It has no end.
        """
        while (end := self._end()) is None:
            self._check_goes_on(number, "it has no end")
            self._read_on()
        return self._take(end)[0]

    def _end(self) -> int | None:
        """Where the element at hand ends, by its brackets and strings alone."""
        if self._text[self._start] in "[{":
            return _extent(self._text, self._start)[0]
        scalar = _SCALAR.match(self._text, self._start)
        assert scalar is not None
        return scalar.end() if scalar.end() < len(self._text) or self._ended else None

    def _check_goes_on(self, number: int, problem: str) -> None:
        if self._ended or len(self._text) - self._start > MAX_LINE_BYTES:
            what = "is cut short or broken" if self._ended else "is broken or over-long"
            raise DamagedShardError(f"element {number} of the JSON array {what}: {problem}")

    def _read_on(self) -> None:
        chunk = self._stream.read(max(CHUNK_BYTES, len(self._text) - self._start))
        self._text = self._text[self._start :] + self._utf8.decode(chunk, final=not chunk)
        self._start = 0
        self._ended = not chunk

    def _skip_space(self) -> str:
        """Go to the next character that is not white space and give it, "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._start)
            assert space is not None
            self._start = space.end()
            if self._start < len(self._text):
                return self._text[self._start]
            if self._ended:
                return ""
            self._read_on()


class _NoJson(ValueError):
    """A constant that Python's own writer knows, and JSON does not."""


_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"


def _refuse(constant: str) -> NoReturn:
    raise _NoJson(f"not JSON: {constant}")


def _extent(text: str, start: int) -> tuple[int | None, int]:
    """Give (end, depth) of the array or object at `start`, None for an end that is not at hand."""
    depth = deepest = 0
    for mark in _MARK.finditer(text, start):
        if mark[1]:
            depth -= 1
            if depth == 0:
                return mark.end(), deepest
        elif mark[2] is None:
            depth += 1
            deepest = max(deepest, depth)
        elif not mark[2]:
            break
    return None, deepest


def _may_be_too_deep(text: str) -> bool:
    """Tell if there are so many opening brackets; most texts have few, and `find` is quick."""
    count = 0
    for bracket in "[{":
        place = text.find(bracket)
        while place >= 0 and count <= MAX_DEPTH:
            count += 1
            place = text.find(bracket, place + 1)
    return count > MAX_DEPTH
