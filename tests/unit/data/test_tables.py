"""linly.data.tables: columns asked for, damage found, bad rows told from good ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.data import tables
from linly.data.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DataError

TEXTS = ["one", "zwei", "三\n四", "x" * 3000, "五"]


def read(path: Path, columns: tuple[str, ...] = ("text",), start: int = 0) -> list[RawRecord]:
    reader = tables.read_parquet if path.suffix == ".parquet" else tables.read_arrow
    return list(reader(ShardFiles((path,), (), columns, ("maybe",), start)))


def write(folder: Path, kind: str, table: pa.Table) -> Path:
    path = folder / f"a.{'parquet' if kind == 'parquet' else 'arrow'}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=3)
        return path
    new = pa.ipc.new_file if kind == "arrow file" else pa.ipc.new_stream
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def with_bad_utf8() -> pa.Table:
    binary = pa.array([b"a", b"\xff", b"c"], pa.binary())
    return pa.table({"text": pa.StringArray.from_buffers(3, *binary.buffers()[1:])})


KINDS = ["parquet", "arrow file", "arrow stream"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_columns_asked_for_are_read(tmp_path: Path, kind: str) -> None:
    columns = {"unread": [b"\xff"] * 5, "text": TEXTS, "also": range(5), "maybe": ["m"] * 5}
    path = write(tmp_path, kind, pa.table(columns))
    assert read(path)[0].value == {"text": "one", "maybe": "m"}
    assert read(path, ("also", "text"))[4].value == {"also": 4, "text": "五", "maybe": "m"}
    with pytest.raises(DataError, match=r"no column content; its columns: unread, text"):
        read(path, ("content",))


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_do_not_depend_on_where_reading_begins(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, kind, pa.table({"text": TEXTS}))
    for batch_bytes in (1, 4000, 1 << 20):
        monkeypatch.setattr(tables, "BATCH_BYTES", batch_bytes)
        whole = read(path)
        assert [raw.value for raw in whole] == [{"text": text} for text in TEXTS]
        for start in range(6):
            assert read(path, start=start) == whole[start:]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_utf8_is_a_bad_record(tmp_path: Path, kind: str) -> None:
    first, bad, last = read(write(tmp_path, kind, with_bad_utf8()))
    assert (first.value, last.value) == ({"text": "a"}, {"text": "c"})
    assert (first.record, bad.record, last.record) == (0, 1, 2)
    assert "bad UTF-8" in (bad.error or "")


def test_nested_columns_come_as_lists_and_objects(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]]
    for kind in KINDS:
        path = write(tmp_path, kind, pa.table({"messages": turns}))
        assert read(path, ("messages",))[0].value == {"messages": turns[0]}


def test_parquet_with_a_bit_flipped_in_its_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"text number {i}" for i in range(1000)]})
    pq.write_table(table, path, write_page_checksum=True, use_dictionary=False, compression="none")
    data = bytearray(path.read_bytes())
    data[data.index(b"number 500")] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cut short or damaged"):
        read(path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_what_is_of_another_format_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"this is no such file" * 10)
    with pytest.raises(DataError, match="cut short"):
        read(path)


def test_an_arrow_stream_cut_between_two_batches_is_an_error(tmp_path: Path) -> None:
    """Arrow takes it for whole: only the missing end mark tells."""
    path = write(tmp_path, "arrow stream", pa.table({"text": TEXTS}))
    path.write_bytes(path.read_bytes()[:-8])
    with pa.ipc.open_stream(path.read_bytes()) as reader:
        assert reader.read_all().num_rows == 5
    with pytest.raises(DataError, match="no IPC stream with its end mark"):
        read(path)


def test_offsets_that_lead_out_of_the_file_spoil_their_own_rows_only(tmp_path: Path) -> None:
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 3, 1 << 30, 9)))
    texts = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"onetwoxyz"))
    path = write(tmp_path, "arrow file", pa.table({"text": texts}))
    first, *bad = read(path)
    assert first.value == {"text": "one"}
    assert [raw.error is not None for raw in bad] == [True, True]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_arrow_files_are_read(tmp_path: Path, compression: str) -> None:
    table = pa.table({"text": TEXTS})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(tmp_path / "a.feather", table.schema, options=options) as writer:
        writer.write_table(table)
    assert [raw.value for raw in read(tmp_path / "a.feather")] == table.to_pylist()
