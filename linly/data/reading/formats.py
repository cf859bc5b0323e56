"""Readers of shards, one per format: files in, `RawRecord`s out, starting at any record.

A record that cannot be parsed is returned with its error, and reading continues. A shard that is
damaged as a whole (truncated, not decompressible) raises DamagedShardError. Line formats skip to
`start_record` without parsing, parquet by whole row groups. Blank lines are not records, but they
are counted, so that a record's number is its line's.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, zip_longest
from posixpath import splitext
from typing import Any

import orjson

from linly.config.fields import top_names
from linly.config.shard_formats import FORMATS, FormatName
from linly.data.reading.first_look import check_first_bytes
from linly.data.reading.json_array import array_elements
from linly.data.reading.library_errors import errors_of
from linly.data.reading.lines import (
    decoded_line,
    numbered_lines,
    over_long,
    text_lines,
    undecodable,
)
from linly.data.reading.names_twice import name_twice
from linly.data.reading.parquet import read_parquet
from linly.data.reading.shard_files import ShardFiles
from linly.data.reading.tables import read_arrow
from linly.data.reading.tmx import read_tmx
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError
from linly.storage.decompression import CODECS
from linly.storage.urls import Location
from linly.streams import (
    MAX_LINE_BYTES,
    as_utf8,
    count_lines,
    iter_lines,
    open_stream,
)

csv.field_size_limit(MAX_LINE_BYTES)

MAX_DEPTH = 500
"""Maximum depth of arrays and objects in a record; more would overflow Python's stack later."""

MAX_NESTED = 4 << 20
"""Maximum number of arrays and objects in a line of JSON; each takes some 64 bytes of memory."""

UNREAD = "(not kept: neither `fields` nor `where` uses it)"
"""Replaces, in a long record, the value of a field that is not requested."""

_BY_SUFFIX = {suffix: name for name, found in FORMATS.items() for suffix in found.suffixes}
_DELIMITER_LINE = re.compile(r'"?sep=([^"\n])"?\r?\n', re.IGNORECASE)
"""Prefix of the line in which spreadsheets declare the delimiter."""

_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"
_LONG_RECORD_BYTES = 4 << 10
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def read_jsonl(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read one JSON object per line; of a long one, keep only the requested fields."""
    kept = _fields_kept(shard)
    for record, size, line in numbered_lines(shard, shard.start_record):
        if line is None:
            yield over_long(record, size)
        elif line.strip():
            yield _parse_object(record, line, kept)


def read_txt(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read one document per line, as `{"text": line}`."""
    for record, size, line in numbered_lines(shard, shard.start_record):
        if line is None:
            yield over_long(record, size)
        elif line.strip():
            try:
                yield RawRecord(record, {"text": decoded_line(line)}, None, size)
            except UnicodeDecodeError as error:
                yield RawRecord(record, None, undecodable(shard, error), size)


def read_tsv(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read tab-separated lines; there is no quoting, so a quotation mark is ordinary text.

    Raises:
        DataError: If the header line is missing or not UTF-8.
    """
    names = shard.names
    start = shard.start_record
    header_lines = 0
    if not names:
        names = _read_header(shard)
        header_lines = 1
    for line_number, size, line in numbered_lines(shard, start + header_lines):
        record = line_number - header_lines
        if line is None:
            yield over_long(record, size)
        elif line.strip():
            yield _parse_columns(shard, record, line, names)


def read_csv(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read rows of a table, quoted as spreadsheets do (a quoted field may hold newlines).

    A first line `sep=;` names the delimiter, as spreadsheets write it.

    Raises:
        DamagedShardError: If quoting is broken, so that the following rows cannot be found.
    """
    with open_stream(shard.paths[0], shard.retries) as stream:
        lines = text_lines(as_utf8(stream, shard.encoding))
        first = next(lines, "")
        delimiter = shard.delimiter
        first_line = 1
        if mark := _DELIMITER_LINE.fullmatch(first):
            delimiter, first_line = mark[1], 2
        else:
            lines = chain([first], lines)
        rows = csv.reader(lines, delimiter=delimiter, escapechar=shard.escape, strict=True)
        before = first_line
        try:
            names = shard.names or _different(shard, tuple(next(rows, ())))
            first_line = before + rows.line_num
            for record, row in enumerate(rows):
                if row and record >= shard.start_record:
                    yield _name_columns(record, row, names, sum(map(len, row)))
                first_line = before + rows.line_num
        except csv.Error as error:
            last_line = before - 1 + rows.line_num
            raise DamagedShardError(_broken_row(first_line, last_line, error)) from error


def _broken_row(first_line: int, last_line: int, error: csv.Error) -> str:
    reason = str(error)
    if reason.startswith("new-line character seen"):
        reason = "a carriage return that ends no line; put the field in quotes"
    elif last_line > first_line or reason == "unexpected end of data":
        reason += "; a quotation mark in that row is not closed"
    return (
        f"broken quoting up to line {last_line}, in the row that begins on line {first_line}: "
        f"{reason}"
    )


def read_json(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read a JSON array of objects, or concatenated objects, one at a time.

    Raises:
        DataError: If the file is neither.
        DamagedShardError: If it is broken somewhere, so that the remaining records cannot be found.
    """
    with open_stream(shard.paths[0], shard.retries) as stream:
        kept = _fields_kept(shard)
        elements = enumerate(array_elements(as_utf8(stream, shard.encoding)))
        for record, element in islice(elements, shard.start_record, None):
            if len(element) > MAX_LINE_BYTES:
                yield over_long(record, len(element), "element")
            else:
                yield _parse_object(record, element, kept)


def read_moses(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read line-aligned files, one per language, as `{language: line}`.

    Raises:
        DataError: If the files do not have the same number of lines. This is checked before the
            first record: after a missing line, no pair is a translation.
    """
    counts = []
    for path in shard.paths:
        with open_stream(path, shard.retries) as stream:
            counts.append(count_lines(as_utf8(stream, shard.encoding)))
    if len(set(counts)) > 1:
        found = ", ".join(f"{p} has {n:,}" for p, n in zip(shard.paths, counts, strict=True))
        raise DataError(f"the files are not line-aligned: {found} lines; align them again")
    sides_of = [numbered_lines(shard, shard.start_record, side) for side in range(len(shard.paths))]
    for sides in zip_longest(*sides_of):
        if any(line is None or line.strip() for _, _, line in sides):
            yield _parse_sides(shard, sides)


def read_records(name: FormatName, shard: ShardFiles) -> Iterator[RawRecord]:
    """Read a shard's records; the only entry point, so that only errors of linly are raised.

    Args:
        name: Name of the format.
        shard: Files of the shard and reading options.

    Raises:
        DamagedShardError: If the shard is damaged.
        DataError: If the shard cannot be read, or is not of its format.
    """
    with errors_of(shard.paths, name):
        check_first_bytes(name, shard)
        yield from reader_of(name)(shard)


def reader_of(name: FormatName) -> Callable[[ShardFiles], Iterator[RawRecord]]:
    """Return the reader of a format."""
    match name:
        case "jsonl":
            return read_jsonl
        case "json":
            return read_json
        case "parquet":
            return read_parquet
        case "tsv":
            return read_tsv
        case "csv":
            return read_csv
        case "txt":
            return read_txt
        case "arrow":
            return read_arrow
        case "tmx":
            return read_tmx
        case "moses":
            return read_moses


@lru_cache(maxsize=1024)  # asked for every record, and a sentence pair is short
def format_of(path: Location | str) -> FormatName | None:
    """Return the format that a file name implies (`a.jsonl.zst`: "jsonl"), None if none."""
    stem, suffix = splitext(str(path))
    if suffix.lower() in CODECS:
        suffix = splitext(stem)[1]
    return _BY_SUFFIX.get(suffix.lower())


def _no_object(record: int, value: object, size: int) -> RawRecord:
    return RawRecord(record, None, f"not a JSON object but {type(value).__name__}", size)


def _fields_kept(shard: ShardFiles) -> frozenset[str]:
    """Return the top-level fields that are requested; empty if all are."""
    paths = (*shard.columns, *shard.optional_columns)
    return frozenset(name for path in paths for name in top_names(path))


def _without_unread(value: dict[str, Any], size_bytes: int, kept: frozenset[str]) -> dict[str, Any]:
    """Clear the other fields of a long record: parsed, they can take 30 times their text."""
    if kept and size_bytes > _LONG_RECORD_BYTES:
        for name in value.keys() - kept:
            value[name] = UNREAD
    return value


def _holds_too_much(line: bytes) -> bool:
    if len(line) < 2 * MAX_NESTED or line.count(b"[") + line.count(b"{") <= MAX_NESTED:
        return False
    outside = _STRING.sub(b"", line)
    return outside.count(b"[") + outside.count(b"{") > MAX_NESTED


def _is_too_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [v for v in level if isinstance(v, dict | list)]
        level = [
            v for found in inner for v in (found.values() if isinstance(found, dict) else found)
        ]
        if not inner:
            return False
    return True


def _parse_object(record: int, line: bytes, kept: frozenset[str]) -> RawRecord:
    if _holds_too_much(line):
        reason = f"more than {MAX_NESTED:,} arrays and objects"
        return RawRecord(record, None, reason, len(line))
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if "Not enough memory" in str(error):  # a fault of the machine, not of the record
            raise DataError(
                f"record {record}: not enough memory to parse its {len(line):,} bytes; free "
                f"memory on this machine, or raise the limit (ulimit -v)"
            ) from error
        is_too_deep = str(error).startswith("depth limit")
        return RawRecord(
            record, None, _TOO_DEEP if is_too_deep else f"not JSON: {error}", len(line)
        )
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        return RawRecord(record, None, _TOO_DEEP, len(line))
    if type(value) is not dict:
        return _no_object(record, value, len(line))
    if twice := name_twice(line, value, kept & value.keys() if kept else value.keys()):
        return RawRecord(record, None, f"more than one field is named {twice!r}", len(line))
    return RawRecord(record, _without_unread(value, len(line), kept), None, len(line))


def _read_header(shard: ShardFiles) -> tuple[str, ...]:
    path = shard.paths[0]
    with open_stream(path, shard.retries) as stream:
        first = next(iter_lines(as_utf8(stream, shard.encoding)), None)
    if first is None:
        raise DataError(f"{path}: it is empty, but a header line was expected; name the `columns`")
    _, line = first
    if line is None:
        raise DataError(f"{path}: the first line is too long for a header; name the `columns`")
    try:
        return _different(shard, tuple(decoded_line(line).split("\t")))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the header is not {shard.encoding}: {error}") from error


def _different(shard: ShardFiles, header: tuple[str, ...]) -> tuple[str, ...]:
    """Return a header's names; DataError if a requested one occurs twice."""
    twice = [name for name in _fields_kept(shard) or header if header.count(name) > 1]
    if twice:
        raise DataError(
            f"{shard.paths[0]}: more than one column is named {sorted(twice)[0]!r} in the header; "
            f"rename one of them"
        )
    return header


def _parse_columns(
    shard: ShardFiles, record: int, line: bytes, names: tuple[str, ...]
) -> RawRecord:
    try:
        parts = decoded_line(line).split("\t")
    except UnicodeDecodeError as error:
        return RawRecord(record, None, undecodable(shard, error), len(line))
    return _name_columns(record, parts, names, len(line))


def _name_columns(
    record: int, parts: Sequence[str], names: Sequence[str], size_bytes: int
) -> RawRecord:
    if len(parts) != len(names):
        reason = f"{len(parts)} columns instead of {len(names)} ({', '.join(names)})"
        return RawRecord(record, None, reason, size_bytes)
    return RawRecord(record, dict(zip(names, parts, strict=True)), None, size_bytes)


def _parse_sides(shard: ShardFiles, sides: tuple[tuple[int, int, bytes | None], ...]) -> RawRecord:
    record = sides[0][0]
    size_bytes = sum(size for _, size, _ in sides)
    value: dict[str, Any] = {}
    for language, (_, size, line) in zip(shard.names, sides, strict=True):
        if line is None:
            return over_long(record, size)
        try:
            value[language] = decoded_line(line)
        except UnicodeDecodeError as error:
            reason = f"{language}: {undecodable(shard, error)}"
            return RawRecord(record, None, reason, size_bytes)
        if not value[language].strip():
            return RawRecord(record, None, f"unmatched pair: {language} is empty", size_bytes)
    return RawRecord(record, value, None, size_bytes)
