"""Columnar shards: Arrow IPC, and code shared with parquet.

Only the requested columns are read, and 16 MiB of values at a time become Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count, repeat

import pyarrow as pa
import pyarrow.parquet as pq

from linly.config.fields import top_names
from linly.data.reading.expansion import (
    can_be_measured,
    parts_of,
    plain_type,
    row_bytes,
    text_sizes,
)
from linly.data.reading.library_errors import columnar_error
from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError
from linly.storage.decompression import compression
from linly.storage.open_files import open_file
from linly.storage.retries import PATIENT, Retries
from linly.storage.urls import Location, Url
from linly.streams import MAX_LINE_BYTES

BATCH_BYTES = 16 << 20
"""Approximate bytes of a file that become Python objects at a time."""

DAMAGE = (OSError, ValueError, OverflowError, pa.ArrowException)
"""Exceptions of pyarrow for a damaged file; a name that is not UTF-8 is a ValueError."""

_MAX_BATCH_ROWS = 1024
_NOT_A_VALUE = (ValueError, OverflowError)
"""Exceptions from creating Python values: text that is not UTF-8, a date after the year 9999."""

_ARROW_FILE_MAGIC = b"ARROW1"
_ARROW_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def check_not_compressed(path: Location) -> None:
    """Reject a columnar file inside another compression.

    Raises:
        DataError: If the file's name implies it.
    """
    if codec := compression(path):
        raise DataError(
            f"{path}: parquet and Arrow files cannot be read from {codec}: rows are located by "
            f"their offset, and the format has its own compression; decompress the file"
        )


@contextmanager
def opened(path: Location, retries: Retries) -> Iterator[pa.NativeFile]:
    """Open a file for Arrow, wherever it is.

    Raises:
        DataError: If it does not exist, or its storage does not respond.
    """
    with open_file(path, retries) as file, pa.PythonFile(file, mode="r") as source:
        yield source


def _mapped(path: Location, retries: Retries) -> AbstractContextManager[pa.NativeFile]:
    """Map a local file into memory, since a batch of it may be large; read a remote one."""
    if isinstance(path, Url):
        return opened(path, retries)
    open_file(path, retries).close()  # Arrow would wait for the writer of a pipe
    mapped: AbstractContextManager[pa.NativeFile] = pa.memory_map(str(path))
    return mapped


def read_arrow(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read the rows of an Arrow IPC file, or of an IPC stream (as written by `datasets`).

    Raises:
        DamagedShardError: If it is truncated or damaged. A stream must have its end mark, since
            otherwise a stream truncated between two batches looks complete.
        DataError: If a column is missing, or its storage does not respond.
    """
    path = shard.paths[0]
    check_not_compressed(path)
    try:
        with _mapped(path, shard.retries) as source:
            record = 0
            for batch in _arrow_batches(path, source, shard):
                yield from _arrow_rows(batch, record, shard.start_record)
                record += batch.num_rows
    except DAMAGE as error:
        raise columnar_error(path, "Arrow file", error) from error


def schema_of(path: Location) -> pa.Schema:
    """Return the columns of a parquet or Arrow file, in order.

    Raises:
        DataError: If it is truncated, damaged or neither.
    """
    check_not_compressed(path)
    try:
        with _mapped(path, PATIENT) as source:
            if source.read_at(4, 0) == b"PAR1":
                schema = pq.ParquetFile(source).schema_arrow
            elif source.read_at(len(_ARROW_FILE_MAGIC), 0) == _ARROW_FILE_MAGIC:
                schema = pa.ipc.open_file(source).schema
            else:
                schema = pa.ipc.open_stream(source).schema
            schema.names  # noqa: B018 (a name that is not UTF-8 shows here)
    except DAMAGE as error:
        raise columnar_error(path, "file", error) from error
    return schema


def _arrow_batches(
    path: Location, source: pa.NativeFile, shard: ShardFiles
) -> Iterator[pa.RecordBatch]:
    if source.size() == 0:
        raise DamagedShardError(f"{path}: is empty (0 bytes); write it again or `exclude` it")
    is_file = source.read_at(len(_ARROW_FILE_MAGIC), 0) == _ARROW_FILE_MAGIC
    if not is_file and not _has_stream_end(source):
        raise DamagedShardError(
            f"{path}: neither an Arrow IPC file nor an IPC stream with its end mark: it is "
            f"truncated, or of another format"
        )
    source.seek(0)
    reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
    columns = columns_read(shard, reader.schema)
    fields = [reader.schema.names.index(name) for name in columns]
    options = pa.ipc.IpcReadOptions(included_fields=sorted(fields))
    source.seek(0)
    if is_file:
        file = pa.ipc.open_file(source, options=options)
        yield from (file.get_batch(index) for index in range(file.num_record_batches))
    else:
        yield from pa.ipc.open_stream(source, options=options)


def _has_stream_end(source: pa.NativeFile) -> bool:
    size = len(_ARROW_STREAM_END)
    if source.size() < size:
        return False
    end: bytes = source.read_at(size, source.size() - size)
    return end == _ARROW_STREAM_END


def _arrow_rows(batch: pa.RecordBatch, first: int, start: int) -> Iterator[RawRecord]:
    """Yield a batch's rows from record `start` on; invalid offsets are detected first."""
    # `nbytes` follows offsets before they are checked, and an invalid one aborts the process.
    rows = rows_at_a_time(batch.get_total_buffer_size(), batch.num_rows)
    for offset in range(max(0, start - first), batch.num_rows, rows):
        part = batch.slice(offset, rows)
        try:
            part.validate(full=True)
        except pa.ArrowInvalid:
            for index in range(part.num_rows):
                yield _checked_row(part.slice(index, 1), first + offset + index)
        else:
            yield from batch_rows(part, first + offset)


def _checked_row(row: pa.RecordBatch, record: int) -> RawRecord:
    try:
        row.validate(full=True)
    except pa.ArrowInvalid as error:
        return RawRecord(record, None, f"bad UTF-8 or damaged: {error}", 0)
    return _lone_row(row, record)


def columns_read(shard: ShardFiles, schema: pa.Schema) -> list[str]:
    """Name the columns that contain the requested fields: `a.b` is a column, or is within `a`.

    Raises:
        DataError: If one is missing, ambiguous, or of an unsupported type.
    """
    columns: dict[str, None] = {}
    missing = []
    for field in (*shard.columns, *shard.optional_columns):
        names = top_names(field)
        column = next((name for name in names if name in schema.names), None)
        if column is not None:
            columns[column] = None
        elif field in shard.columns:
            missing.append(names[-1])
    path = shard.paths[0]
    if missing:
        names = tuple(schema.names)
        raise DataError(f"{path}: no column {', '.join(missing)}; its columns: {', '.join(names)}")
    if twice := [column for column in columns if schema.names.count(column) > 1]:
        raise DataError(f"{path}: more than one column is named {twice[0]!r}; rename one of them")
    for column in columns:
        kind = schema.field(schema.names.index(column)).type
        if not can_be_measured(kind):
            raise DataError(
                f"{path}: column {column} is of the type {kind}, which is not supported: pyarrow "
                f"cannot convert its values, or one stored value may be shared by any number of "
                f"rows; write it as another type"
            )
    return list(columns)


def rows_at_a_time(size_bytes: int, num_rows: int) -> int:
    """Return how many of `num_rows` rows, stored in `size_bytes`, to take at a time."""
    bytes_per_row = max(1, size_bytes // max(1, num_rows))
    return max(1, min(_MAX_BATCH_ROWS, BATCH_BYTES // bytes_per_row))


def batch_rows(batch: pa.RecordBatch, first_record: int) -> Iterator[RawRecord]:
    """Yield a batch's rows; one over MAX_LINE_BYTES is a bad record, like a line of JSON."""
    for offset, part in parts_of(batch, BATCH_BYTES):
        yield from _part_rows(part, first_record + offset)


def _part_rows(part: pa.RecordBatch, first_record: int) -> Iterator[RawRecord]:
    if part.num_rows == 1:
        yield _lone_row(part, first_record)
        return
    try:
        plain = _plain(part)
        rows = plain.to_pylist()
    except _NOT_A_VALUE:
        for offset in range(part.num_rows):
            yield _lone_row(part.slice(offset, 1), first_record + offset)
        return
    sizes = text_sizes(plain).tolist()
    yield from map(RawRecord, count(first_record), rows, repeat(None), sizes)


def _lone_row(row: pa.RecordBatch, record: int) -> RawRecord:
    if (size := row_bytes(row)) > MAX_LINE_BYTES:
        reason = f"the row of {size:,} bytes is longer than {MAX_LINE_BYTES:,}"
        return RawRecord(record, None, reason, 0)
    try:
        plain = _plain(row)
        value = plain.to_pylist()[0]
    except UnicodeDecodeError as error:
        return RawRecord(record, None, f"bad UTF-8: {error}", 0)
    except _NOT_A_VALUE as error:
        what = "bad UTF-8" if "UTF8" in str(error) else "a value cannot be read"
        return RawRecord(record, None, f"{what}: {error}", 0)
    return RawRecord(record, value, None, int(text_sizes(plain)[0]))


def _plain(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows without dictionaries, binary columns as text; ArrowInvalid if not text."""
    if all(plain_type(kind) == kind for kind in rows.schema.types):
        return rows
    columns = [_plain_column(column) for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _plain_column(column: pa.Array) -> pa.Array:
    kind = plain_type(column.type)
    if kind == column.type:
        return column
    if pa.types.is_nested(kind):
        # A slice of lists contains the values of the whole array, and all of them would be cast.
        column = column.take(pa.array(range(len(column)), pa.int64()))
    return column.cast(kind)
