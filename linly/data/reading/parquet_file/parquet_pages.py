"""Headers of a parquet column chunk's pages: the encoding of each page's values.

pyarrow reads pages and does not show their headers, which are Thrift structs in the compact
protocol (https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_HEADER_BYTES = 512
"""Bytes of the first read of a header; one with long statistics is read again with twice that."""

_MAX_HEADER_BYTES = 16 << 20
_MAX_DEPTH = 16
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PLAIN_DICTIONARY, _RLE_DICTIONARY = 2, 8


class _Field(IntEnum):
    """Fields of the struct PageHeader."""

    TYPE = 1
    SIZE = 2
    COMPRESSED_SIZE = 3
    DATA = 5
    DATA_V2 = 8


class _Kind(IntEnum):
    """Types of Thrift's compact protocol."""

    STOP = 0
    TRUE = 1
    FALSE = 2
    BYTE = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    SET = 10
    STRUCT = 12


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a column chunk.

    Attributes:
        is_dictionary: Whether the page contains the dictionary of the pages after it.
        size_bytes: Size of the page, uncompressed.
        num_values: Values, nulls and empty lists in a page of data; 0 in any other page.
        names_values: Whether the values are indices into the dictionary.
    """

    is_dictionary: bool
    size_bytes: int
    num_values: int
    names_values: bool


def pages_of(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData) -> Iterator[Page]:
    """Yield the pages of a column chunk; only the header of each page is read.

    Raises:
        ValueError: If a header cannot be parsed.
    """
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    end = start + chunk.total_compressed_size
    num_values = 0
    while start < end and num_values < chunk.num_values:
        header, header_bytes = _read_header(source, start)
        page = _page(header)
        yield page
        num_values += page.num_values
        start += header_bytes + max(0, header[_Field.COMPRESSED_SIZE])


def dictionary_of(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData) -> Page | None:
    """Return the page of a column chunk's dictionary, None if its first page is not one.

    Raises:
        ValueError: If the header of the first page cannot be parsed.
    """
    first = next(pages_of(source, chunk), None)
    return first if first is not None and first.is_dictionary else None


def _page(header: dict[int, Any]) -> Page:
    kind = header[_Field.TYPE]
    num_values = encoding = 0
    if kind == _DATA:
        num_values, encoding = header[_Field.DATA][1], header[_Field.DATA][2]
    elif kind == _DATA_V2:
        num_values, encoding = header[_Field.DATA_V2][1], header[_Field.DATA_V2][4]
    return Page(
        is_dictionary=kind == _DICTIONARY,
        size_bytes=header[_Field.SIZE],
        num_values=num_values,
        names_values=encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY),
    )


def _read_header(source: pa.NativeFile, start: int) -> tuple[dict[int, Any], int]:
    """Return a page's header and its length in bytes."""
    size = _HEADER_BYTES
    while True:
        data = source.read_at(size, start)
        try:
            compact = Compact(data)
            return compact.struct(), compact.position
        except (IndexError, KeyError, TypeError) as error:
            if len(data) < size or size >= _MAX_HEADER_BYTES:
                raise ValueError(f"the page header at byte {start:,} is damaged") from error
        size *= 2


class Compact:
    """Reads values of Thrift's compact protocol; IndexError if the data ends too early."""

    def __init__(self, data: bytes) -> None:
        """Read `data` from its start."""
        self._data = data
        self.position = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Read a struct: field number -> value."""
        if depth > _MAX_DEPTH:
            raise ValueError("a page header is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) & 0x0F != _Kind.STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 0x0F
            is_truth = kind in (_Kind.TRUE, _Kind.FALSE)
            fields[number] = kind == _Kind.TRUE if is_truth else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_Kind.I16, _Kind.I32, _Kind.I64):
            return self._integer()
        if kind == _Kind.BINARY:
            return self._bytes(self._varint())
        if kind == _Kind.STRUCT:
            return self.struct(depth + 1)
        if kind in (_Kind.BYTE, _Kind.TRUE, _Kind.FALSE):
            return self._byte()
        if kind == _Kind.DOUBLE:
            return self._bytes(8)
        if kind in (_Kind.LIST, _Kind.SET) and depth <= _MAX_DEPTH:
            head = self._byte()
            size = head >> 4 if head >> 4 < 0x0F else self._varint()
            return [self._value(head & 0x0F, depth + 1) for _ in range(size)]
        raise ValueError(f"a page header holds the type {kind}")

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def _byte(self) -> int:
        byte = self._data[self.position]
        self.position += 1
        return byte

    def _bytes(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise IndexError
        data = self._data[self.position : end]
        self.position = end
        return data
