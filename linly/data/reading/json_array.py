"""JSON arrays read element by element, using the memory of one element."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from linly.errors import DamagedShardError, DataError
from linly.storage.decompression import Readable
from linly.streams import CHUNK_BYTES, MAX_LINE_BYTES

_NUMBER_LOOKAHEAD = 3
_SPACE = re.compile(r"[ \t\r\n]*")
_MARK = re.compile(r'[\[{]|([\]}])|"[^"\\]*(?:\\.[^"\\]*)*("?)', re.DOTALL)
"""Opening bracket, closing bracket (1), or string with its end (2) if that is already read."""


def array_elements(stream: Readable) -> Iterator[bytes]:
    """Yield the text of each element of the JSON array in a stream, to be parsed like a line.

    Instead of an array there may be concatenated objects, on any number of lines.

    An element may still be invalid JSON whose end is certain: control characters, NaN, bad
    UTF-8 in a string.

    Raises:
        DataError: If the stream contains neither.
        DamagedShardError: If the array is truncated or broken, so that the remaining elements
            cannot be found.
    """
    yield from _ArrayText(stream).elements()


class _ArrayText:
    """Text of a JSON array, read as its elements are consumed.

    The json module's scanner finds the end of an element. If an element extends past the text read
    so far, the scanner tries again with twice as much. Its parsed value is discarded, since it
    accepts more than JSON.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        # Digits are kept as text, so that no number is too long for the scanner.
        self._scan = json.JSONDecoder(strict=False, parse_int=str, parse_float=str).raw_decode
        self._text = ""
        self._start = 0
        self._ended = False

    def elements(self) -> Iterator[bytes]:
        first = self._skip_space()
        if first == "{":
            yield from self._objects()
            return
        if first != "[":
            raise DataError(
                f"not a JSON array: it starts with {first!r}; if it has one object per line, "
                f"set `format: jsonl`"
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
                if mark == "]":
                    raise DamagedShardError(self._broken(number, "',' before ']'"))
            elif mark != "]":
                raise DamagedShardError(self._broken(number, f"{mark!r} instead of ',' or ']'"))
        self._start += 1
        if rest := self._skip_space():
            raise DamagedShardError(f"text after the end of the JSON array, starting with {rest!r}")

    def _objects(self) -> Iterator[bytes]:
        """Yield concatenated objects, each on any number of lines."""
        number = 0
        while mark := self._skip_space():
            if mark != "{":
                raise DamagedShardError(
                    f"no object begins after object {number - 1}, but text with {mark!r}"
                )
            yield self._element(number)
            number += 1

    def _broken(self, number: int, problem: str) -> str:
        if self._ended and self._start == len(self._text):
            return f"the JSON array is truncated: it ends after element {number - 1}"
        return f"the JSON array is broken after element {number - 1}: {problem}"

    def _element(self, number: int) -> bytes:
        while True:
            try:
                _, end = self._scan(self._text, self._start)
            except json.JSONDecodeError as error:
                self._check_continues(number, error.msg)
            except RecursionError:
                return self._take(self._end_by_brackets(number))
            else:
                # A number may continue after the text at hand: 12|34, 1.|5, 1e+|5.
                if end + _NUMBER_LOOKAHEAD <= len(self._text) or self._ended:
                    return self._take(end)
            self._read_on()

    def _take(self, end: int) -> bytes:
        text = self._text[self._start : end]
        self._start = end
        return text.encode("utf-8", "surrogateescape")

    def _end_by_brackets(self, number: int) -> int:
        """Find the end of an element that is nested too deeply for the scanner.

        Raises:
            DamagedShardError: If there is no end.
        """
        while (end := _closing_bracket(self._text, self._start)) is None:
            self._check_continues(number, "it has no end")
            self._read_on()
        return end

    def _check_continues(self, number: int, problem: str) -> None:
        if self._ended or len(self._text) - self._start > MAX_LINE_BYTES:
            what = "is truncated or malformed" if self._ended else "is broken or over-long"
            raise DamagedShardError(f"element {number} of the JSON array {what}: {problem}")

    def _read_on(self) -> None:
        chunk = self._stream.read(max(CHUNK_BYTES, len(self._text) - self._start))
        self._text = self._text[self._start :] + self._utf8.decode(chunk, final=not chunk)
        self._start = 0
        self._ended = not chunk

    def _skip_space(self) -> str:
        """Advance to the next character other than white space; return it, "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._start)
            assert space is not None
            self._start = space.end()
            if self._start < len(self._text):
                return self._text[self._start]
            if self._ended:
                return ""
            self._read_on()


def _closing_bracket(text: str, start: int) -> int | None:
    """Find the end of the array or object at `start`, None if it is not read yet."""
    depth = 0
    for mark in _MARK.finditer(text, start):
        if mark[1]:
            depth -= 1
            if depth == 0:
                return mark.end()
        elif mark[2] is None:
            depth += 1
        elif not mark[2]:
            break
    return None
