"""Parquet shards: row groups in pieces, few enough rows at a time, and as many as the file says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linly.data.shard_files import ShardFiles
from linly.data.tables import (
    DAMAGE,
    batch_rows,
    check_not_compressed,
    columns_read,
    opened,
    rows_at_a_time,
)
from linly.data.types import RawRecord
from linly.errors import DamagedShardError
from linly.streams import FREE_OUTPUT_BYTES, MAX_EXPANSION

BUFFER_BYTES = 1 << 20
"""Of a column chunk that is read at a time."""

SHARED_BYTES = 128 << 20
"""What rows read at a time may take when all have the largest value that is stored once."""

_FEW_BATCHES = 64
"""Reading a row group in as many takes about as long as finding out how large its values are."""

_TEXT = "BYTE_ARRAY"
_PAGE_HEADER_BYTES = 16
_DICTIONARY_PAGE = re.compile(rb"\x15\x04\x15([\x80-\xff]{0,4}[\x00-\x7f])", re.DOTALL)
"""How a page's header begins: its type (2), then its size uncompressed (Thrift, compact)."""


def read_parquet(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read the rows of a parquet file, skipping by whole row groups.

    Column chunks are read in pieces: a row group may be larger than memory.

    Raises:
        DamagedShardError: The file is cut short or damaged, expands like a bomb, or a row group
            has more or fewer rows than the file says.
        DataError: It has no such column, or its storage does not answer.
    """
    path = shard.paths[0]
    check_not_compressed(path)
    try:
        with opened(path, shard.retries) as source, _open(source) as file:
            yield from _rows(source, file, shard)
    except DAMAGE as error:
        raise DamagedShardError(
            f"{path}: the parquet file is cut short or damaged: {error}"
        ) from error


def _open(source: pa.NativeFile, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        source,
        page_checksum_verification=True,
        pre_buffer=False,
        buffer_size=BUFFER_BYTES,
        **options,
    )


def _rows(source: pa.NativeFile, file: pq.ParquetFile, shard: ShardFiles) -> Iterator[RawRecord]:
    path, metadata = shard.paths[0], file.metadata
    columns = columns_read(shard, file.schema_arrow)
    groups = [metadata.row_group(index) for index in range(file.num_row_groups)]
    if sum(group.num_rows for group in groups) != metadata.num_rows:
        raise DamagedShardError(
            f"{path}: its row groups do not have the {metadata.num_rows:,} rows that it names"
        )
    size_bytes = sum(group.total_byte_size for group in groups)
    if size_bytes > max(FREE_OUTPUT_BYTES, source.size() * MAX_EXPANSION):
        raise DamagedShardError(
            f"{path}: {source.size():,} bytes expand to {size_bytes:,}, over {MAX_EXPANSION} "
            f"times: no text does that; leave the file out with `exclude`"
        )
    batches_of = _GroupReader(source, file, columns).batches
    first = 0
    for index, group in enumerate(groups):
        if first + group.num_rows > shard.start_record:
            where = f"{path}: row group {index}"
            for found, batch in _counted(batches_of(index), group.num_rows, where):
                skip = min(max(0, shard.start_record - first - found), batch.num_rows)
                yield from batch_rows(batch.slice(skip), first + found + skip)
        first += group.num_rows


def _counted(
    batches: Iterator[pa.RecordBatch], num_rows: int, where: str
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Give (rows before it, batch) of a row group's batches, which must have `num_rows` in all."""
    found = 0
    for batch in batches:
        if found + batch.num_rows > num_rows:
            raise DamagedShardError(f"{where} has more than the {num_rows:,} rows that it names")
        yield found, batch
        found += batch.num_rows
    if found < num_rows:
        raise DamagedShardError(f"{where} has {found:,} of the {num_rows:,} rows that it names")


class _GroupReader:
    """Reads row groups so that a batch of rows is bounded in memory.

    A column chunk may begin with a dictionary: values that are stored once, and stand in any
    number of rows.
    """

    def __init__(self, source: pa.NativeFile, file: pq.ParquetFile, columns: list[str]) -> None:
        self._source = source
        self._file = file
        self._columns = columns
        prefixes = tuple(f"{name}." for name in columns)
        self._leaves = [
            index
            for index in range(len(file.schema))
            if (path := file.schema.column(index).path) in columns or path.startswith(prefixes)
        ]
        self._texts = [
            index
            for index in self._leaves
            if file.schema.column(index).physical_type in (_TEXT, "FIXED_LEN_BYTE_ARRAY")
        ]
        self._in_lists = [i for i in self._texts if file.schema.column(i).max_repetition_level > 0]

    def batches(self, index: int) -> Iterator[pa.RecordBatch]:
        """Read a row group."""
        group = self._file.metadata.row_group(index)
        rows = rows_at_a_time(group.total_byte_size, group.num_rows)
        bounded = SHARED_BYTES // max(1, group.total_byte_size)
        if not self._in_lists and group.num_rows <= _FEW_BATCHES * bounded:
            return self._read(self._file, index, max(1, min(rows, bounded)))
        # pyarrow ends the process when it is asked for what a damaged file says of a column
        # chunk, but for one that it has begun to read.
        stored = [i for i in self._texts if self._file.schema.column(i).physical_type == _TEXT]
        first = next(self._read(self._file_with(stored), index, 1), None)
        chunks = {leaf: group.column(leaf) for leaf in self._texts}
        shared = [leaf for leaf in self._in_lists if _may_repeat(chunks[leaf], group.num_rows)]
        largest = sum(
            self._largest(chunk, first)
            for leaf, chunk in chunks.items()
            if chunk.has_dictionary_page and leaf not in shared
        )
        rows = max(1, min(rows, SHARED_BYTES // max(1, largest)))
        return self._read(self._file_with(shared), index, rows)

    def _largest(self, chunk: pq.ColumnChunkMetaData, first: pa.RecordBatch | None) -> int:
        """Give at least the size of the largest value in a column chunk's dictionary.

        Of `first`, a row read as it is stored, it is known exactly if it has all the dictionary:
        there, each value's length takes four bytes.
        """
        size = _dictionary_bytes(self._source, chunk)
        if first is not None and chunk.path_in_schema in first.schema.names:
            column = first.column(chunk.path_in_schema)
            if isinstance(column, pa.DictionaryArray) and chunk.physical_type == _TEXT:
                lengths = pc.binary_length(column.dictionary)
                if len(lengths) and pc.sum(lengths).as_py() + 4 * len(lengths) == size:
                    size = pc.max(lengths).as_py()
        return size

    def _read(self, file: pq.ParquetFile, index: int, rows: int) -> Iterator[pa.RecordBatch]:
        batches: Iterator[pa.RecordBatch] = file.iter_batches(
            batch_size=rows, row_groups=[index], columns=self._columns
        )
        return batches

    def _file_with(self, shared: Sequence[int]) -> pq.ParquetFile:
        """Give the file so that these leaves come as they are stored: slower, but small."""
        if not shared:
            return self._file
        paths = [self._file.schema.column(leaf).path for leaf in shared]
        return _open(self._source, metadata=self._file.metadata, read_dictionary=paths)


def _may_repeat(chunk: pq.ColumnChunkMetaData, num_rows: int) -> bool:
    """Tell if one row's list may hold a dictionary's value so often that it takes too much."""
    most_values = max(1, chunk.num_values - num_rows + 1)
    most_bytes = most_values * chunk.total_uncompressed_size
    return (
        chunk.physical_type == _TEXT
        and bool(chunk.has_dictionary_page)
        and most_bytes > SHARED_BYTES
    )


def _dictionary_bytes(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData) -> int:
    """Give the size of a column chunk's dictionary: no value of it can be larger.

    pyarrow does not tell it, so the page's header is looked at; where that is in another order,
    the size of the whole chunk serves.
    """
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    header = _DICTIONARY_PAGE.match(source.read_at(_PAGE_HEADER_BYTES, start))
    if header is None:
        return int(chunk.total_uncompressed_size)
    zigzag = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(header[1]))
    size_bytes: int = zigzag >> 1
    return size_bytes
