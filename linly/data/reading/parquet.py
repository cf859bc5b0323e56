"""Parquet shards: row groups in bounded batches, checked against the declared row counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linly.data.reading.expansion import LEAF_BYTES, row_bytes
from linly.data.reading.library_errors import columnar_error
from linly.data.reading.parquet_file.parquet_footer import values_of_chunks
from linly.data.reading.parquet_file.parquet_pages import dictionary_of, pages_of
from linly.data.reading.shard_files import ShardFiles
from linly.data.reading.tables import (
    DAMAGE,
    batch_rows,
    check_not_compressed,
    columns_read,
    opened,
    rows_at_a_time,
)
from linly.data.types import RawRecord
from linly.errors import DamagedShardError
from linly.streams import FREE_OUTPUT_BYTES, MAX_EXPANSION, MAX_LINE_BYTES

BUFFER_BYTES = 1 << 20
"""Bytes of a column chunk to read at a time."""

SHARED_BYTES = 128 << 20
"""Bytes that a batch may take if all its rows have the largest value that is stored once."""

_FEW_BATCHES = 64
"""Number of batches whose reading takes about as long as measuring the values of a row group."""

_TEXT = "BYTE_ARRAY"

_DELTAS = frozenset({"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"})
"""Encodings that pyarrow cannot read as dictionaries. The first shares beginnings of texts."""


def read_parquet(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read the rows of a parquet file; skips whole row groups.

    Column chunks are read in pieces: a row group may be larger than memory.

    Raises:
        DamagedShardError: If the file is truncated or damaged, expands like a zip bomb, or a row
            group has more or fewer rows than the file declares.
        DataError: If a column is missing, or its storage does not respond.
    """
    path = shard.paths[0]
    check_not_compressed(path)
    try:
        with opened(path, shard.retries) as source, _open(source) as file:
            yield from _rows(source, file, shard)
    except DAMAGE as error:
        raise columnar_error(path, "parquet file", error) from error


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
            f"{path}: its row groups do not have the {metadata.num_rows:,} rows that it declares"
        )
    size_bytes = sum(group.total_byte_size for group in groups)
    if size_bytes > max(FREE_OUTPUT_BYTES, source.size() * MAX_EXPANSION):
        raise DamagedShardError(
            f"{path}: {source.size():,} bytes expand to {size_bytes:,}, over {MAX_EXPANSION} "
            f"times, which no text does; leave the file out with `exclude`"
        )
    reader = _GroupReader(source, file, columns)
    first = 0
    for index, group in enumerate(groups):
        start, first = first, first + group.num_rows
        if first <= shard.start_record:
            continue
        if reason := reader.over_long(index):
            for record in range(max(start, shard.start_record), first):
                yield RawRecord(record, None, reason, 0)
            continue
        where = f"{path}: row group {index}"
        for found, batch in _counted(reader.batches(index), group.num_rows, where):
            skip = min(max(0, shard.start_record - start - found), batch.num_rows)
            yield from batch_rows(batch.slice(skip), start + found + skip)


def _counted(
    batches: Iterator[pa.RecordBatch], num_rows: int, where: str
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (rows before it, batch) of a row group's batches, which must have `num_rows` in all."""
    found = 0
    for batch in batches:
        if found + batch.num_rows > num_rows:
            raise DamagedShardError(f"{where} has more than the {num_rows:,} rows that it declares")
        yield found, batch
        found += batch.num_rows
    if found < num_rows:
        raise DamagedShardError(f"{where} has {found:,} of the {num_rows:,} rows that it declares")


class _GroupReader:
    """Reads row groups in batches of bounded memory.

    A column chunk may begin with a dictionary: values that are stored once and occur in any number
    of rows.
    """

    def __init__(self, source: pa.NativeFile, file: pq.ParquetFile, columns: list[str]) -> None:
        self._source = source
        self._file = file
        self._columns = columns
        self._files: dict[tuple[int, ...], pq.ParquetFile] = {(): file}
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
        self._in_lists = [
            index
            for index in self._texts
            if file.schema.column(index).max_repetition_level > 0
            and file.schema.column(index).physical_type == _TEXT
        ]
        self._number_lists = [
            index
            for index in self._leaves
            if file.schema.column(index).max_repetition_level > 0
            and file.schema.column(index).physical_type != _TEXT
        ]
        self._num_values = values_of_chunks(source) if self._number_lists else []

    def over_long(self, index: int) -> str | None:
        """Return the reason to skip a row group: some row must exceed MAX_LINE_BYTES.

        pyarrow loads all numbers of a row and cannot skip a row, so the footer decides this.
        """
        num_rows = self._file.metadata.row_group(index).num_rows
        for leaf in self._number_lists:
            length = self._file.schema.column(leaf).length or LEAF_BYTES  # fixed-size bytes
            size = self._num_values[index][leaf] * min(LEAF_BYTES, length)
            if size > MAX_LINE_BYTES * num_rows:
                return (
                    f"the lists of {self._file.schema.column(leaf).path} in the {num_rows:,} "
                    f"row(s) of this row group take {size:,} bytes: a row is longer than "
                    f"{MAX_LINE_BYTES:,}"
                )
        return None

    def batches(self, index: int) -> Iterator[pa.RecordBatch]:
        """Read a row group."""
        group = self._file.metadata.row_group(index)
        rows = rows_at_a_time(group.total_byte_size, group.num_rows)
        bounded = SHARED_BYTES // max(1, group.total_byte_size)
        if not self._in_lists and group.num_rows <= _FEW_BATCHES * bounded:
            return self._read(self._file, index, max(1, min(rows, bounded)))
        # pyarrow aborts the process on the chunk metadata of a damaged file, unless it has begun
        # to read the chunk.
        stored = [leaf for leaf in self._texts if self._is_text(leaf)]
        try:
            first = next(self._read(self._file_with(stored), index, 1), None)
            chunks = {leaf: group.column(leaf) for leaf in self._texts}
        except OSError as error:
            if "Not yet implemented" not in str(error):
                raise
            chunks = {leaf: group.column(leaf) for leaf in self._texts}
            stored = [leaf for leaf in stored if not _is_delta(chunks[leaf])]
            first = next(self._read(self._file_with(stored), index, 1), None)
        outside = [chunk for leaf, chunk in chunks.items() if leaf not in self._in_lists]
        largest = sum(self._largest(chunk, first) for chunk in outside)
        rows = max(1, min(rows, SHARED_BYTES // max(1, largest)))
        shared = []
        free_bytes = SHARED_BYTES
        for leaf in self._in_lists:
            if _is_delta(chunks[leaf]):
                if _at_most_bytes(chunks[leaf]) > SHARED_BYTES:
                    rows = 1
                continue
            most = self._most_bytes(index, leaf, chunks[leaf], rows, free_bytes)
            if most > free_bytes:
                shared.append(leaf)
            else:
                free_bytes -= most
        return self._read(self._file_with(shared), index, rows)

    def _is_text(self, leaf: int) -> bool:
        return bool(self._file.schema.column(leaf).physical_type == _TEXT)

    def _largest(self, chunk: pq.ColumnChunkMetaData, first: pa.RecordBatch | None) -> int:
        """Return an upper bound on the largest value that a column chunk stores only once.

        Args:
            chunk: Column chunk of texts, not in lists.
            first: A row as it is stored. If it has the whole dictionary, the size is exact: in the
                dictionary's page each value's length takes four bytes.
        """
        if _is_delta(chunk):
            return int(chunk.total_uncompressed_size)
        page = dictionary_of(self._source, chunk)
        size = 0 if page is None else page.size_bytes
        if size and first is not None and chunk.path_in_schema in first.schema.names:
            column = first.column(chunk.path_in_schema)
            if isinstance(column, pa.DictionaryArray) and chunk.physical_type == _TEXT:
                lengths = pc.binary_length(column.dictionary)
                if len(lengths) and pc.sum(lengths).as_py() + 4 * len(lengths) == size:
                    size = pc.max(lengths).as_py()
        return size

    def _most_bytes(
        self, index: int, leaf: int, chunk: pq.ColumnChunkMetaData, rows: int, enough: int
    ) -> int:
        """Return the largest size of a text in lists over batches of `rows` rows.

        Only dictionary values are measured, as indices into the dictionary: any other value
        takes as many bytes in the file. Measuring stops when a batch takes more than `enough`.
        """
        if (bound := _at_most_bytes(chunk)) <= enough // len(self._in_lists):
            return bound
        num_values = end = num_named = dictionary_bytes = 0
        for page in pages_of(self._source, chunk):
            num_values += page.num_values
            if page.is_dictionary:
                dictionary_bytes = max(dictionary_bytes, page.size_bytes)
            if page.names_values:
                num_named, end = num_named + page.num_values, num_values
        share = enough // len(self._in_lists)
        if (bound := num_named * dictionary_bytes) <= share:
            return bound
        path = [chunk.path_in_schema]
        first = next(self._read(self._file_with([leaf]), index, 1, path), None)
        longest = _longest_named(first, dictionary_bytes)
        if longest is not None and (bound := num_named * longest) <= share:
            return bound
        most = num_values = 0
        for batch in self._read(self._file_with([leaf]), index, rows, path):
            if not batch.columns:
                raise ValueError(f"column {chunk.path_in_schema!r} cannot be found by its name")
            most = max(most, row_bytes(batch))
            num_values += len(_values(batch.column(0)))
            if num_values >= end or most > enough:
                break
        return most

    def _read(
        self, file: pq.ParquetFile, index: int, rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        batches: Iterator[pa.RecordBatch] = file.iter_batches(
            batch_size=rows, row_groups=[index], columns=columns or self._columns
        )
        return batches

    def _file_with(self, shared: Sequence[int]) -> pq.ParquetFile:
        """Return the file with these leaves read as dictionaries: slower, but small."""
        key = tuple(shared)
        if key not in self._files:
            paths = [self._file.schema.column(leaf).path for leaf in shared]
            self._files[key] = _open(
                self._source, metadata=self._file.metadata, read_dictionary=paths
            )
        return self._files[key]


def _is_delta(chunk: pq.ColumnChunkMetaData) -> bool:
    return not _DELTAS.isdisjoint(chunk.encodings)


def _at_most_bytes(chunk: pq.ColumnChunkMetaData) -> int:
    """Return a bound on a chunk's texts from its footer: each value is as large as the chunk."""
    return int(chunk.num_values * chunk.total_uncompressed_size)


def _longest_named(first: pa.RecordBatch | None, dictionary_bytes: int) -> int | None:
    """Return the size of the longest value of a dictionary of texts in lists.

    Args:
        first: A row of only this text, as it is stored; None if there is none.
        dictionary_bytes: Size of the dictionary's page, where each length takes four bytes. None
            is returned if the row does not have the whole dictionary.
    """
    values = None if first is None or not first.columns else _values(first.column(0))
    if not isinstance(values, pa.DictionaryArray) or len(values.dictionary) == 0:
        return None
    lengths = pc.binary_length(values.dictionary)
    is_whole = pc.sum(lengths).as_py() + 4 * len(lengths) == dictionary_bytes
    return pc.max(lengths).as_py() if is_whole else None


def _values(array: pa.Array) -> pa.Array:
    """Return the values of an array inside lists and structs of one field each."""
    while pa.types.is_nested(array.type):
        array = array.field(0) if pa.types.is_struct(array.type) else array.flatten()
    return array
