"""Columnar shards: parquet and Arrow IPC, only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from linly.data.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError
from linly.storage.files import open_file
from linly.storage.retries import PATIENT, Retries
from linly.storage.urls import Location, Url

BATCH_BYTES = 16 << 20
"""About how much of a file is turned into Python objects at a time."""

BUFFER_BYTES = 1 << 20
"""Of a column chunk that is read at a time."""

_MAX_BATCH_ROWS = 1024
_ARROW_FILE_MAGIC = b"ARROW1"
_ARROW_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def read_parquet(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read the rows of a parquet file, skipping by whole row groups.

    Column chunks are read in pieces: a row group may be larger than memory.

    Raises:
        DamagedShardError: The file is cut short or damaged.
        DataError: It has no such column, or its storage does not answer.
    """
    path = shard.paths[0]
    try:
        with (
            _opened(path, shard.retries) as source,
            pq.ParquetFile(
                source, page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER_BYTES
            ) as file,
        ):
            yield from _parquet_rows(file, shard)
    except (OSError, pa.ArrowException) as error:
        raise DamagedShardError(
            f"{path}: the parquet file is cut short or damaged: {error}"
        ) from error


@contextmanager
def _opened(path: Location, retries: Retries) -> Iterator[pa.NativeFile]:
    with open_file(path, retries) as file, pa.PythonFile(file, mode="r") as source:
        yield source


def _mapped(path: Location, retries: Retries) -> AbstractContextManager[pa.NativeFile]:
    """A local file as the kernel's pages, for a batch of it may be large; a remote one read."""
    return _opened(path, retries) if isinstance(path, Url) else pa.memory_map(str(path))


def _parquet_rows(file: pq.ParquetFile, shard: ShardFiles) -> Iterator[RawRecord]:
    columns = _columns_read(shard, file.schema_arrow.names)
    record = 0
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        if record + meta.num_rows <= shard.start_record:
            record += meta.num_rows
            continue
        batches = file.iter_batches(
            batch_size=_rows_at_a_time(meta.total_byte_size, meta.num_rows),
            row_groups=[group],
            columns=columns,
        )
        for batch in batches:
            skip = min(max(0, shard.start_record - record), batch.num_rows)
            yield from _batch_rows(batch.slice(skip), record + skip)
            record += batch.num_rows


def read_arrow(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read the rows of an Arrow IPC file, or of an IPC stream (what `datasets` writes).

    Raises:
        DamagedShardError: It is cut short or damaged. A stream must have its end mark, for without
            one a stream cut between two batches looks whole.
        DataError: It has no such column, or its storage does not answer.
    """
    path = shard.paths[0]
    try:
        with _mapped(path, shard.retries) as source:
            record = 0
            for batch in _arrow_batches(path, source, shard):
                yield from _arrow_rows(batch, record, shard.start_record)
                record += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DamagedShardError(
            f"{path}: the Arrow file is cut short or damaged: {error}"
        ) from error


def column_names(path: Location) -> list[str]:
    """Name the columns of a parquet or Arrow file, in their order.

    Raises:
        DataError: It is cut short, damaged or neither.
    """
    try:
        with _mapped(path, PATIENT) as source:
            if source.read_at(4, 0) == b"PAR1":
                names: list[str] = pq.ParquetFile(source).schema_arrow.names
            elif source.read_at(len(_ARROW_FILE_MAGIC), 0) == _ARROW_FILE_MAGIC:
                names = pa.ipc.open_file(source).schema.names
            else:
                names = pa.ipc.open_stream(source).schema.names
    except (OSError, pa.ArrowException) as error:
        raise DamagedShardError(f"{path}: the file is cut short or damaged: {error}") from error
    return names


def _arrow_batches(
    path: Location, source: pa.NativeFile, shard: ShardFiles
) -> Iterator[pa.RecordBatch]:
    if source.size() == 0:
        raise DamagedShardError(f"{path}: is empty (0 bytes); make it again, or `exclude` it")
    is_file = source.read_at(len(_ARROW_FILE_MAGIC), 0) == _ARROW_FILE_MAGIC
    if not is_file and not _has_stream_end(source):
        raise DamagedShardError(
            f"{path}: no Arrow IPC file, and no IPC stream with its end mark: it is cut short, or "
            f"of another format"
        )
    source.seek(0)
    reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
    columns = _columns_read(shard, reader.schema.names)
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
    """Give a batch's rows from record `start` on; offsets that lead astray are found first."""
    rows = _rows_at_a_time(batch.nbytes, batch.num_rows)
    for offset in range(max(0, start - first), batch.num_rows, rows):
        part = batch.slice(offset, rows)
        try:
            part.validate(full=True)
        except pa.ArrowInvalid:
            for index in range(part.num_rows):
                yield _checked_row(part.slice(index, 1), first + offset + index)
        else:
            yield from _batch_rows(part, first + offset)


def _checked_row(row: pa.RecordBatch, record: int) -> RawRecord:
    try:
        row.validate(full=True)
    except pa.ArrowInvalid as error:
        return RawRecord(record, None, f"bad UTF-8 or damaged: {error}", 0)
    return _lone_row(row, record)


def _columns_read(shard: ShardFiles, found: list[str]) -> list[str]:
    if missing := [name for name in shard.columns if name not in found]:
        raise DataError(
            f"{shard.paths[0]}: no column {', '.join(missing)}; its columns: {', '.join(found)}"
        )
    return [*shard.columns, *(name for name in shard.optional_columns if name in found)]


def _rows_at_a_time(size_bytes: int, num_rows: int) -> int:
    bytes_per_row = max(1, size_bytes // max(1, num_rows))
    return max(1, min(_MAX_BATCH_ROWS, BATCH_BYTES // bytes_per_row))


def _batch_rows(batch: pa.RecordBatch, first_record: int) -> Iterator[RawRecord]:
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        for offset in range(batch.num_rows):
            yield _lone_row(batch.slice(offset, 1), first_record + offset)
        return
    for record, row in enumerate(rows, first_record):
        yield RawRecord(record, row, None, _size_bytes(row))


def _lone_row(row: pa.RecordBatch, record: int) -> RawRecord:
    try:
        value = row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return RawRecord(record, None, f"bad UTF-8: {error}", 0)
    return RawRecord(record, value, None, _size_bytes(value))


def _size_bytes(value: object) -> int:
    """Give the bytes of the text in a value: its own, whatever batch it was read in.

    Sizes end blocks, so one that depended on where reading began would break resuming.
    """
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_size_bytes, value.values()))
    if isinstance(value, list):
        return sum(map(_size_bytes, value))
    return 8
