"""Lines of a shard's text files: numbered, bounded in length, and decoded one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DataError
from linly.storage.decompression import Readable
from linly.streams import MAX_LINE_BYTES, UTF8, as_utf8, iter_lines, open_stream


def numbered_lines(
    shard: ShardFiles, start: int, side: int = 0
) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (line number from 0, size in bytes, line) from line `start` on.

    A line is None if it is longer than MAX_LINE_BYTES; see `over_long`.

    Args:
        shard: Files of the shard and reading options.
        start: Number of the first line.
        side: Index of the file, for line-aligned files.
    """
    with open_stream(shard.paths[side], shard.retries) as stream:
        numbered = enumerate(iter_lines(as_utf8(stream, shard.encoding)))
        for number, (size, line) in islice(numbered, start, None):
            yield number, size, line


def over_long(record: int, size: int, what: str = "line") -> RawRecord:
    """Return the bad record of a line, or another part of a file, that is too long."""
    reason = f"the {what} of {size:,} bytes is longer than {MAX_LINE_BYTES:,}"
    return RawRecord(record, None, reason, 0)


def decoded_line(line: bytes) -> str:
    """Decode a line, without the carriage return of a CRLF.

    Raises:
        UnicodeDecodeError: If it is not UTF-8; see `undecodable`.
    """
    return line.removesuffix(b"\r").decode("utf-8")


def undecodable(shard: ShardFiles, error: UnicodeDecodeError) -> str:
    """Return the reason why a line could not be decoded."""
    return f"bad UTF-8: {error}" if shard.encoding == UTF8 else f"not all of it is {shard.encoding}"


def text_lines(stream: Readable) -> Iterator[str]:
    """Yield lines with their ends; invalid UTF-8 becomes lone surrogates, rejected later.

    Raises:
        DataError: If a line is too long.
    """
    for _, line in iter_lines(stream):
        if line is None:
            raise DataError(f"a line is longer than {MAX_LINE_BYTES:,} bytes")
        yield line.decode("utf-8", "surrogateescape") + "\n"
