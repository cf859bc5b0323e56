"""Bounded reading of plain, zstd, gzip, bzip2 and xz files; truncated or damaged ones are errors.

Text in another encoding is converted to UTF-8, so that readers see only one encoding.
"""

from __future__ import annotations

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

import pyarrow as pa

from linly.errors import DamagedShardError, DataError
from linly.storage.decompression import DECOMPRESSOR_ERRORS, Readable, compression, decompressed
from linly.storage.open_files import open_file
from linly.storage.retries import PATIENT, Retries
from linly.storage.urls import Location

CHUNK_BYTES = 256 << 10
MAX_LINE_BYTES = 64 << 20
"""Longest line (or JSON array element) that is accepted; a longer one is a bad record."""

MAX_EXPANSION = 1000
"""Largest expansion factor of a file. Text reaches 3 to 30, repeated log lines 200."""

FREE_OUTPUT_BYTES = 256 << 20
"""Output below this size is never treated as a bomb, whatever the expansion."""

UTF8 = "utf-8"

_PIECE_BYTES = 4 << 10
_HEAD_BYTES = 64 << 10
_GZIP_BITS = 16 + zlib.MAX_WBITS
_UTF8_BOM = b"\xef\xbb\xbf"
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_TEXT = "\udcff"
"""Surrogate that is encoded as the byte 0xFF."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _NOT_TEXT, error.end


codecs.register_error("linly.mark", _mark)


class BoundedStream:
    """Decompressed bytes of a file; `read` never returns more than requested.

    Before a damaged place it returns the bytes up to within 64 KiB of compressed data, the same
    ones every time.

    Attributes:
        path: File being read.
        position: Decompressed bytes returned so far.
    """

    def __init__(self, path: Location, retries: Retries = PATIENT) -> None:
        """Open `path`, decompressing by its suffix (.zst, .gz, .bz2, .xz).

        Raises:
            DamagedShardError: If the file is empty (0 bytes).
            DataError: If the file is missing or cannot be opened.
        """
        self.path = path
        self.position = 0
        self._codec = compression(path)
        self._retries = retries
        self._damage: DataError | None = None
        self._ended = False
        self._open()
        if self._file.size_bytes == 0:
            self.close()
            raise DamagedShardError(
                f"{path}: is empty (0 bytes), as after an interrupted copy or download; copy it "
                f"again, or leave it out with `exclude`"
            )

    def _open(self) -> None:
        self._file = open_file(self.path, self._retries, is_stream=True)
        self._stream = decompressed(self._file, self._codec)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end.

        Raises:
            DamagedShardError: If the file is truncated or damaged, or expands like a bomb. Names
                the position.
            DataError: If it needs a window above 128 MiB, or its storage does not respond.
        """
        if self._damage is not None:
            raise self._damage
        if self._ended:
            return b""
        try:
            data = self._stream.read(size)
        except DECOMPRESSOR_ERRORS as error:
            data = self._before_damage(error, size)
        self.position += len(data)
        if self._codec is not None and self.position > FREE_OUTPUT_BYTES:
            self._check_expansion()
        return data

    def _before_damage(self, error: Exception, size: int) -> bytes:
        """Reread the bytes before damage, which the decompressor lost when it failed."""
        fault = self._explain(error, self.position)
        if not isinstance(fault, DamagedShardError):
            raise fault from error
        data = bytearray()
        for piece_bytes in (_PIECE_BYTES, 1):
            self._reopen(self.position + len(data))
            try:
                while missing := size - len(data):
                    piece = self._stream.read(min(piece_bytes, missing))
                    if not piece:
                        break
                    data += piece
            except DECOMPRESSOR_ERRORS:
                self._damage = fault = self._explain(error, self.position + len(data))
        if self._damage is not None and self._is_padded():
            self._damage, self._ended = None, True
        elif not data:
            raise fault from error
        return bytes(data)

    def _is_padded(self) -> bool:
        """Return whether only zeros follow the last gzip member, which gzip itself ignores."""
        if self._codec != "gzip":
            return False
        member, pending = zlib.decompressobj(_GZIP_BITS), b""
        with open_file(self.path, self._retries, is_stream=True) as file:
            while pending or (pending := file.read(CHUNK_BYTES)):
                try:
                    member.decompress(pending, CHUNK_BYTES)
                except zlib.error:
                    return False
                pending = member.unconsumed_tail
                if member.eof:
                    pending = member.unused_data or file.read(CHUNK_BYTES)
                    if pending.startswith(b"\0"):
                        return not any(map(_has_more_than_zeros, _chunks(pending, file)))
                    member = zlib.decompressobj(_GZIP_BITS)
        return False

    def _reopen(self, position: int) -> None:
        self.close()
        self._open()
        passed = 0
        while passed < position:
            passed += len(self._stream.read(min(CHUNK_BYTES, position - passed)))

    def _check_expansion(self) -> None:
        consumed = self._file.tell()
        if self.position > consumed * MAX_EXPANSION:
            raise DamagedShardError(
                f"{self.path}: {consumed:,} bytes expand to more than {self.position:,}, over "
                f"{MAX_EXPANSION} times, which no text does; leave the file out with `exclude`"
            )

    def _explain(self, error: Exception, text_bytes: int) -> DataError:
        where = (
            f"after {text_bytes:,} bytes of text (near byte {self._file.tell():,} of "
            f"{self._file.size_bytes:,} on disk)"
        )
        text = str(error)
        if "too much memory" in text:
            return DataError(
                f"{self.path}: its {self._codec} window is larger than 128 MiB; compress it "
                f"without --long, or with xz -9 or less"
            )
        if "Dictionary mismatch" in text:
            return DataError(
                f"{self.path}: the zstd data needs the dictionary that it was compressed with; "
                f"decompress it with `zstd -d -D DICTIONARY`, and compress it without one"
            )
        if "not enough memory" in text:
            return DataError(f"{self.path}: not enough memory to decompress it: {text}")
        if "Truncated" in text:
            return DamagedShardError(
                f"{self.path}: the {self._codec} data is truncated: it ends {where}; copy it again"
            )
        return DamagedShardError(f"{self.path}: the {self._codec} data is damaged {where}: {text}")

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._stream, pa.NativeFile):
            self._stream.close()
        self._file.close()

    def __enter__(self) -> BoundedStream:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def _chunks(first: bytes, stream: Readable) -> Iterator[bytes]:
    chunk = first
    while chunk:
        yield chunk
        chunk = stream.read(CHUNK_BYTES)


def _has_more_than_zeros(data: bytes) -> bool:
    return bool(data.strip(b"\0"))


def open_stream(path: Location, retries: Retries = PATIENT) -> BoundedStream:
    """Open a file, plain or compressed, for bounded reading; see `BoundedStream` for the errors."""
    return BoundedStream(path, retries)


def read_heads(path: Location, size: int, retries: Retries = PATIENT) -> tuple[bytes, bytes]:
    """Read the first bytes of a file: as stored, and decompressed by its suffix.

    Args:
        path: File to read.
        size: Bytes of each; fewer if the file is shorter. Of data that cannot be decompressed, the
            bytes before the damage are returned.
        retries: Retry policy of the storage.

    Raises:
        DataError: If the file is missing or cannot be read.
    """
    with open_file(path, retries) as file:
        stored = file.read_at(0, max(size, _HEAD_BYTES))
    head, codec = bytearray(), compression(path)
    if codec is not None:
        with suppress(*DECOMPRESSOR_ERRORS):
            stream = decompressed(io.BytesIO(stored), codec)
            while len(head) < size and (piece := stream.read(min(_PIECE_BYTES, size - len(head)))):
                head += piece
    return stored[:size], bytes(head) if codec is not None else stored[:size]


class Utf8Stream:
    """The bytes of a stream in another encoding, as UTF-8.

    Bytes that are invalid in that encoding become the byte 0xFF, which never occurs in UTF-8: a
    reader that decodes lines finds only that line bad and continues.
    """

    def __init__(self, stream: Readable, encoding: str) -> None:
        """Read `stream`, which is in `encoding`; see `linly.storage.encodings`."""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="linly.mark")

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes of the stream as UTF-8, b"" at the end."""
        while chunk := self._stream.read(size):
            if text := self._decoder.decode(chunk):
                return _as_utf8(text)
        return _as_utf8(self._decoder.decode(b"", final=True))


def _as_utf8(text: str) -> bytes:
    try:
        return text.encode(UTF8)
    except UnicodeEncodeError:
        return _SURROGATES.sub(_NOT_TEXT, text).encode(UTF8, "surrogateescape")


def as_utf8(stream: Readable, encoding: str) -> Readable:
    """Return the stream itself if it is in UTF-8, else one that converts it to UTF-8."""
    return stream if encoding == UTF8 else Utf8Stream(stream, encoding)


def iter_lines(
    stream: Readable, *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, bytes | None]]:
    r"""Split a stream at b"\n".

    A byte order mark at the start is removed. A last line without a newline counts.

    Yields:
        (size in bytes without the newline, line). The line is None if it is longer than
        `max_line_bytes`: it was skipped without being held in memory.
    """
    parts: list[bytes] = []
    pending = 0
    is_start = True
    while chunk := stream.read(CHUNK_BYTES):
        if is_start:
            chunk = chunk.removeprefix(_UTF8_BOM)
            is_start = False
        first, *rest = chunk.split(b"\n")
        pending += len(first)
        if pending <= max_line_bytes:
            parts.append(first)
        else:
            parts.clear()
        if rest:
            yield pending, _joined(parts, pending, max_line_bytes)
            for line in rest[:-1]:
                size = len(line)
                yield size, line if size <= max_line_bytes else None
            last = rest[-1]
            pending = len(last)
            parts = [last]
    if pending:
        yield pending, _joined(parts, pending, max_line_bytes)


def _joined(parts: list[bytes], size: int, max_line_bytes: int) -> bytes | None:
    return b"".join(parts) if size <= max_line_bytes else None


def count_lines(stream: Readable) -> int:
    """Count the lines that `iter_lines` would yield, without keeping any."""
    count = 0
    ends_open = False
    while chunk := stream.read(CHUNK_BYTES):
        count += chunk.count(b"\n")
        ends_open = not chunk.endswith(b"\n")
    return count + ends_open
