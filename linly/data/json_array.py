"""JSON arrays read an element at a time: memory is one element's, however long the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from linly.errors import DamagedShardError, DataError
from linly.streams import CHUNK_BYTES, MAX_LINE_BYTES, Readable

_NUMBER_LOOKAHEAD = 3
_SPACE = re.compile(r"[ \t\r\n]*")


def array_elements(stream: Readable) -> Iterator[tuple[object, int]]:
    """Yield (element, size of its text in bytes) of the JSON array in a stream.

    What is not UTF-8 in a string ends as lone surrogates: not text, but the array goes on.

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
        self._scan = json.JSONDecoder(strict=False).raw_decode
        self._text = ""
        self._start = 0
        self._ended = False

    def elements(self) -> Iterator[tuple[object, int]]:
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

    def _element(self, number: int) -> tuple[object, int]:
        while True:
            try:
                value, end = self._scan(self._text, self._start)
                # A number may go on past the text at hand: 12|34, 1.|5, 1e+|5.
                if end + _NUMBER_LOOKAHEAD <= len(self._text) or self._ended:
                    text = self._text[self._start : end]
                    self._start = end
                    return value, len(text.encode("utf-8", "surrogateescape"))
            except RecursionError as error:
                raise DamagedShardError(
                    f"element {number} of the JSON array is nested too deep"
                ) from error
            except ValueError as error:
                size = len(self._text) - self._start
                if self._ended or size > MAX_LINE_BYTES:
                    what = "is cut short or broken" if self._ended else "is broken or over-long"
                    raise DamagedShardError(
                        f"element {number} of the JSON array {what}: {error}"
                    ) from error
            self._read_on()

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
