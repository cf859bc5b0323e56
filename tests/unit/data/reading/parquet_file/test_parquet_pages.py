"""linly.data.reading.parquet_file: every page of a column chunk, and how it stores its values."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.data.reading.parquet_file.parquet_pages import Page, dictionary_of, pages_of

TEXTS = [f"{number % 7} says {number}" for number in range(3000)]


def written(array: pa.Array, **options: object) -> pa.BufferReader:
    sink = io.BytesIO()
    small = {"data_page_size": 1000, "dictionary_pagesize_limit": 2000} | options
    pq.write_table(pa.table({"text": array}), sink, **small)
    return pa.BufferReader(sink.getvalue())


def pages(source: pa.BufferReader) -> list[Page]:
    chunk = pq.ParquetFile(source).metadata.row_group(0).column(0)
    found = list(pages_of(source, chunk))
    assert sum(page.num_values for page in found) == chunk.num_values
    return found


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("checksum", [False, True])
def test_a_chunk_that_outgrows_its_dictionary_names_values_at_first(
    version: str, compression: str, checksum: bool
) -> None:
    source = written(
        pa.array(TEXTS),
        data_page_version=version,
        compression=compression,
        write_page_checksum=checksum,
    )
    dictionary, *data = pages(source)
    named = [page.names_values for page in data]
    assert dictionary.is_dictionary and dictionary.size_bytes >= 2000
    assert named[0] and not named[-1]
    assert named == sorted(named, reverse=True)


def test_lists_count_their_nulls_and_empty_ones() -> None:
    source = written(pa.array([["a", None], [], None, ["b"]] * 500), write_batch_size=100)
    assert sum(page.num_values for page in pages(source)) == 5 * 500


def test_a_chunk_without_a_dictionary_has_none() -> None:
    source = written(pa.array(TEXTS), use_dictionary=False)
    chunk = pq.ParquetFile(source).metadata.row_group(0).column(0)
    assert dictionary_of(source, chunk) is None
    assert not any(page.names_values for page in pages(source))


def test_a_header_with_long_statistics_is_read() -> None:
    texts = ["x" * 3000, "y" * 3000] * 10
    source = written(pa.array(texts), use_dictionary=False, write_batch_size=2)
    assert len(pages(source)) == 10


def test_a_damaged_header_is_an_error() -> None:
    source = written(pa.array(TEXTS))
    chunk = pq.ParquetFile(source).metadata.row_group(0).column(0)
    data = bytearray(source.read())
    data[chunk.dictionary_page_offset : chunk.dictionary_page_offset + 8] = b"\xff" * 8
    with pytest.raises(ValueError, match="page header"):
        list(pages_of(pa.BufferReader(bytes(data)), chunk))
