"""Decompressors by a file's suffix: zstd, gzip, bzip2 and xz, with limited memory.

pyarrow's compressed streams read zstd and gzip, including files of several frames or members and
zstd's skippable frames. They refuse windows above 128 MiB and report a truncated last frame
(zstandard's own stream reader accepts it as complete). The standard library reads bzip2 and xz:
pyarrow does not support xz, and fails on an empty bzip2 stream before another.
"""

from __future__ import annotations

import bz2
import io
import lzma
from collections.abc import Callable
from posixpath import splitext
from typing import Protocol

import pyarrow as pa

from linly.storage.urls import Location

_CHUNK_BYTES = 256 << 10
XZ_MEMORY_BYTES = 132 << 20
"""Memory for a dictionary of 128 MiB, as for zstd; `xz -9` needs 65 MiB."""

CODECS = {".zst": "zstd", ".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
DECOMPRESSOR_ERRORS = (OSError, pa.ArrowException)
"""Errors of a decompressor about its data; some of pyarrow's have no class of their own."""


class Readable(Protocol):
    """A stream as readers of lines and arrays need it."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" only at the end."""
        ...


def compression(path: Location | str) -> str | None:
    """Return the codec of a file by its suffix: zstd, gzip, bz2, xz; None for plain."""
    return CODECS.get(splitext(str(path))[1].lower())


def decompressed(source: io.RawIOBase | io.BytesIO, codec: str | None) -> Readable:
    """Return a stream of the decompressed bytes of `source`; it raises DECOMPRESSOR_ERRORS."""
    if codec is None:
        return source
    if codec in _DECOMPRESSORS:
        return _JoinedStreams(source, codec)
    stream: Readable = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), codec)
    return stream


class _JoinedStreams:
    """The bytes of a bzip2 or xz file of one or more streams, some of which may be empty.

    Errors are OSErrors with the text of pyarrow's streams for the same fault.
    """

    def __init__(self, source: io.RawIOBase | io.BytesIO, codec: str) -> None:
        self._source = source
        self._new = _DECOMPRESSORS[codec]
        self._allows_padding = codec == "xz"
        self._decompressor = self._new()
        self._between = False
        self._padding = 0

    def read(self, size: int, /) -> bytes:
        data = b""
        try:
            while not data:
                pending = b""
                if self._decompressor.eof:
                    pending = self._decompressor.unused_data
                    self._decompressor, self._between = self._new(), True
                if not pending and self._decompressor.needs_input:
                    pending = self._source.read(_CHUNK_BYTES) or b""
                    if not pending:
                        self._check_end()
                        return b""
                if self._between:
                    pending = self._skip_padding(pending)
                data = self._decompressor.decompress(pending, max_length=size)
        except lzma.LZMAError as error:
            if "Memory usage limit" in str(error):
                raise OSError("too much memory needed") from error
            raise OSError(str(error)) from error
        return data

    def _skip_padding(self, pending: bytes) -> bytes:
        """Remove the padding of xz: zeros, in fours, between and after streams."""
        rest = pending.lstrip(b"\0") if self._allows_padding else pending
        self._padding += len(pending) - len(rest)
        if rest:
            if self._padding % 4:
                raise OSError(f"padding of {self._padding} bytes between streams")
            self._between, self._padding = False, 0
        return rest

    def _check_end(self) -> None:
        if not self._between or self._padding % 4:
            raise OSError("Truncated stream")


def _new_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


_DECOMPRESSORS: dict[str, Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]] = {
    "bz2": bz2.BZ2Decompressor,
    "xz": _new_xz,
}
