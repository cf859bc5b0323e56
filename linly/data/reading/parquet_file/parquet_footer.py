"""Footer of a parquet file: the number of values of each column chunk.

pyarrow provides this too, but aborts the process if the footer of a damaged file contradicts
itself, unless it has begun to read the chunk.
"""

from __future__ import annotations

import pyarrow as pa

from linly.data.reading.parquet_file.parquet_pages import Compact

_END_BYTES = 8
"""Size of the end of a file: the length of the footer (4 bytes) and `PAR1`."""

_ROW_GROUPS = 4
"""Field of the struct FileMetaData."""

_COLUMNS, _CHUNK, _NUM_VALUES = 1, 3, 5
"""Fields of the structs RowGroup, ColumnChunk and ColumnMetaData."""


def values_of_chunks(source: pa.NativeFile) -> list[list[int]]:
    """Return the number of values of each column chunk, by row group and leaf.

    Nulls and empty lists count as values.

    Raises:
        ValueError: If the footer cannot be parsed.
    """
    end = source.size() - _END_BYTES
    size = int.from_bytes(source.read_at(4, end), "little")
    try:
        footer = Compact(source.read_at(size, end - size)).struct()
        return [
            [column[_CHUNK][_NUM_VALUES] for column in group[_COLUMNS]]
            for group in footer.get(_ROW_GROUPS, [])
        ]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("the footer is damaged") from error
