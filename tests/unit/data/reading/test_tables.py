"""linly.data.reading.tables: columns asked for, damage found, bad rows told from good ones."""

from __future__ import annotations

import io
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.corpus import Corpus
from linly.data.reading import parquet, tables
from linly.data.reading.expansion import parts_of, row_bytes, text_sizes
from linly.data.reading.shard_files import ShardFiles
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError

TEXTS = ["one", "zwei", "三\n四", "x" * 3000, "五"]


def read(path: Path, columns: tuple[str, ...] = ("text",), start: int = 0) -> list[RawRecord]:
    reader = parquet.read_parquet if path.suffix == ".parquet" else tables.read_arrow
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


BYTES: list[pa.Array] = [
    pa.array([b"one", None, "三".encode(), b"\xff"]),
    pa.array([b"one", None, "三".encode(), b"\xff"], pa.large_binary()),
    pa.array([b"one", None, "三".encode(), b"\xff"], pa.binary_view()),
    pa.array([b"one", None, "三".encode(), b"\xff"]).dictionary_encode(),
    pa.array([[b"one"], None, ["三".encode(), b""], [b"\xff"]]),
    pa.array([{"a": b"one"}, None, {"a": "三".encode()}, {"a": b"\xff"}]),
    pa.array([[{"a": b"one"}], [], [{"a": "三".encode()}], [{"a": b"\xff"}]]),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("array", BYTES, ids=lambda array: str(array.type))
def test_bytes_that_are_text_are_read_as_text(tmp_path: Path, kind: str, array: pa.Array) -> None:
    path = write(tmp_path, kind, pa.table({"text": array}))
    *good, bad = read(path)
    found = [raw.value for raw in good]
    assert b"".join(str(value).encode() for value in found).count("三".encode()) == 1
    assert "b'" not in str(found)
    assert "bad UTF-8" in (bad.error or "")
    assert sum(raw.size_bytes for raw in good) > 5


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
    with pytest.raises(DataError, match="truncated or damaged"):
        read(path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_what_is_of_another_format_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"this is no such file" * 10)
    with pytest.raises(DataError, match="truncated"):
        read(path)


def test_an_arrow_stream_cut_between_two_batches_is_an_error(tmp_path: Path) -> None:
    """Arrow takes it for whole: only the missing end mark tells."""
    path = write(tmp_path, "arrow stream", pa.table({"text": TEXTS}))
    path.write_bytes(path.read_bytes()[:-8])
    with pa.ipc.open_stream(path.read_bytes()) as reader:
        assert reader.read_all().num_rows == 5
    with pytest.raises(DataError, match="nor an IPC stream with its end mark"):
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


def flat_and_nested() -> bytes:
    texts = [f"{i} some text" for i in range(30)]
    sink = io.BytesIO()
    table = pa.table(
        {"text": texts, "list": [[text, "x"] * (i % 3) for i, text in enumerate(texts)]}
    )
    pq.write_table(table, sink, row_group_size=7)
    return sink.getvalue()


@pytest.mark.parametrize(("shared_bytes", "step"), [(parquet.SHARED_BYTES, 5), (1, 23)])
def test_no_flipped_bit_makes_rows_fewer_or_more_in_silence(
    tmp_path: Path, shared_bytes: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SHARED_BYTES", shared_bytes)
    whole = flat_and_nested()
    path = tmp_path / "a.parquet"
    num_damaged = 0
    for position in range(4, len(whole), step):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(bytes(data))
        try:
            rows = read(path, ("text", "list"))
        except DamagedShardError:
            num_damaged += 1
        except DataError as error:
            assert "no column" in str(error) or "is of the type" in str(error)
        else:
            assert [raw.record for raw in rows] == list(range(30)), position
    assert num_damaged > 10


def test_what_is_read_as_it_is_stored_is_the_same_from_any_record_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(flat_and_nested())
    whole = read(path, ("text", "list"))
    monkeypatch.setattr(parquet, "SHARED_BYTES", 1)
    for start in range(len(whole)):
        assert read(path, ("text", "list"), start=start) == whole[start:]


def test_a_row_group_with_fewer_or_more_rows_than_the_file_says_is_named(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", "c"] * 3})
    path = write(tmp_path, "parquet", table)
    with pq.ParquetFile(path) as file:
        batches = list(file.iter_batches(batch_size=2))
    for says, words in (
        (10, r"row group 7 has 9 of the 10 rows"),
        (8, r"has more than the 8 rows"),
    ):
        with pytest.raises(DamagedShardError, match=words):
            list(parquet._counted(iter(batches), says, "a.parquet: row group 7"))


LARGE = "x" * 2_000_000
READ = """
import sys
from pathlib import Path
from linly.data.reading.formats import reader_of
from linly.data.reading.shard_files import ShardFiles
from tests.support.peak_memory import peak_bytes
path = Path(sys.argv[1])
before = peak_bytes()
raws = reader_of(path.suffix[1:])(ShardFiles((path,), (), ("text",), (), 0))
print([raw.error for raw in raws if raw.error])
print(peak_bytes() - before)
"""


def views() -> pa.Array:
    """A thousand views of one text."""
    _, one, text = pa.array([LARGE], pa.string_view()).buffers()
    buffers = [None, pa.py_buffer(one.to_pybytes() * 1000), text]
    return pa.Array.from_buffers(pa.string_view(), 1000, buffers)


def repeated() -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([LARGE]))


def listed() -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, 0, 999, 1000], pa.int32()), repeated())


def chat() -> pa.Array:
    """One text in a thousand turns of one row, after rows that look like any other."""
    content = pa.DictionaryArray.from_arrays(
        pa.array([0] * 3 + [1] * 997, pa.int32()), pa.array(["short", LARGE])
    )
    turns = pa.StructArray.from_arrays([pa.array(["user"] * 1000), content], ["role", "content"])
    return pa.ListArray.from_arrays(pa.array([0, 1, 2, 999, 1000], pa.int32()), turns)


def struct_of_lists() -> pa.Array:
    return pa.StructArray.from_arrays([listed(), listed()], ["role", "content"])


BOMBS: dict[str, tuple[str, Callable[[], pa.Array]]] = {
    "rows": ("parquet", repeated),
    "one row's list": ("parquet", listed),
    "one row's list of turns": ("parquet", chat),
    "one row's lists": ("parquet", struct_of_lists),
    "Arrow": ("arrow", repeated),
    "views": ("arrow", views),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_text_that_is_stored_once_and_stands_a_thousand_times_takes_little_memory(
    tmp_path: Path, name: str
) -> None:
    """All of it would be 2 GB, and 4 GB with the Python objects."""
    kind, make = BOMBS[name]
    table = pa.table({"text": make()})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, store_schema=False)  # else it says to read it as it is stored
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    errors, grown = done.stdout.splitlines()
    if "list" in name:
        assert re.fullmatch(r"\['the row of [13],99.,...,... bytes is longer than 67.*']", errors)
    else:
        assert errors == "[]"
    assert int(grown) < 700 << 20


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
@pytest.mark.parametrize("column", ["text", "text.list.element"])
def test_texts_in_delta_encodings_are_read_from_large_row_groups(
    tmp_path: Path, column: str, encoding: str
) -> None:
    texts = [f"{i} " + "abcdefgh" * 300 for i in range(20_000)]
    values = texts if column == "text" else [[text] for text in texts]
    path = tmp_path / "a.parquet"
    options = {"use_dictionary": False, "column_encoding": {column: encoding}}
    pq.write_table(pa.table({"text": values}), path, **options)
    raws = list(parquet.read_parquet(ShardFiles((path,), (), ("text",), (), 0)))
    assert [raw.value for raw in raws] == [{"text": value} for value in values]


TURNS = [[{"role": r, "content": f"{r} says {i}"} for r in ("user", "gpt")] for i in range(60)]
IN_LISTS: dict[str, list[object]] = {
    "list": [[turn["content"] for turn in turns] for turns in TURNS],
    "list of structs": TURNS,
    "list of lists": [[[turn["content"]] for turn in turns] for turns in TURNS],
    "struct of lists": [{key: [t[key] for t in turns] for key in turns[0]} for turns in TURNS],
    "list in a struct in a list": [[{"said": [turn["content"]]} for turn in t] for t in TURNS],
    "with empty lists and nulls": [TURNS[0], [], None, [None], *TURNS[4:]],
}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("repeated", [1, 50], ids=["many texts", "few texts"])
@pytest.mark.parametrize("name", IN_LISTS)
def test_texts_in_lists_are_read_plainly_where_no_batch_expands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, repeated: int, version: str
) -> None:
    path = tmp_path / "a.parquet"
    values = IN_LISTS[name] * repeated
    options = {"dictionary_pagesize_limit": 1000, "data_page_size": 500}
    pq.write_table(pa.table({"text": values}), path, data_page_version=version, **options)
    monkeypatch.setattr(parquet, "SHARED_BYTES", 200_000)
    kept: list[tuple[int, ...]] = []
    original = parquet._GroupReader._file_with

    def noted(self: parquet._GroupReader, shared: Sequence[int]) -> pq.ParquetFile:
        kept.append(tuple(shared))
        return original(self, shared)

    monkeypatch.setattr(parquet._GroupReader, "_file_with", noted)
    assert [raw.value for raw in read(path)] == [{"text": value} for value in values]
    assert len(kept) > 1, "the group is too small for this test"
    assert kept[-1] == (), "the last of them reads the rows"


PEAK = """
import sys
from pathlib import Path
import pyarrow as pa
from linly.data.reading.parquet import read_parquet
from linly.data.reading.shard_files import ShardFiles
for raw in read_parquet(ShardFiles((Path(sys.argv[1]),), (), ("text",), (), 0)):
    pass
print(pa.default_memory_pool().max_memory())
"""


def test_memory_for_chats_does_not_grow_with_the_row_group(tmp_path: Path) -> None:
    peaks = []
    for num_rows in (4_000, 32_000):
        draw = random.Random(4)
        turns = [
            [{"role": role, "content": draw.randbytes(200).hex()} for role in ("user", "gpt") * 2]
            for _ in range(num_rows)
        ]
        path = tmp_path / f"{num_rows}.parquet"
        pq.write_table(pa.table({"text": turns}), path, row_group_size=num_rows)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.5 * peaks[0]


def test_a_row_group_is_read_as_its_dictionary_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SHARED_BYTES", 10_000)
    texts = ["y" * 999, "z" * 500, "short"] * 200
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "lists": [[text] for text in texts]}), path)
    sizes: list[int] = []
    original = parquet.batch_rows

    def noted(batch: pa.RecordBatch, first: int) -> object:
        sizes.append(batch.num_rows)
        return original(batch, first)

    monkeypatch.setattr(parquet, "batch_rows", noted)
    assert [raw.value["text"] for raw in read(path) if raw.value] == texts
    assert set(sizes) == {10_000 // 999}
    assert [raw.value["lists"][0] for raw in read(path, ("lists",)) if raw.value] == texts


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_longer_than_a_line_may_be_is_a_bad_record(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(tables, "BATCH_BYTES", 1000)
    path = write(tmp_path, kind, pa.table({"text": ["a" * 1000, "b" * 1001, "c"]}))
    for start in range(3):
        rows = read(path, start=start)
        expected = [None, "the row of 1,001 bytes is longer than 1,000", None]
        assert [raw.error for raw in rows] == expected[start:]
        assert [raw.record for raw in rows] == [0, 1, 2][start:]


def test_a_parquet_file_that_expands_like_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "FREE_OUTPUT_BYTES", 1 << 20)
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": ["x" * (8 << 20)]}), path, compression="zstd", write_statistics=False
    )
    with pytest.raises(DamagedShardError, match=r"expand to 8,388,\d\d\d, over 1000 times"):
        read(path)


MEASURED: list[pa.Array] = [
    pa.array(["a", "中", None]),
    pa.array(["a", None, "bc"], pa.string_view()),
    pa.array(["a", None, "bc"]).dictionary_encode(),
    pa.array([1, 2, None]).dictionary_encode(),
    pa.array([True, False, None]),
    pa.array([None, None, None]),
]


def size_of(value: object) -> int:
    """Bytes of the text in a value; any other value counts 8."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, list) else 8


@pytest.mark.parametrize("array", MEASURED, ids=lambda array: str(array.type))
def test_rows_are_measured_before_they_are_made(array: pa.Array) -> None:
    for start in range(3):
        part = array.slice(start)
        batch = pa.RecordBatch.from_pydict({"a": part})
        assert row_bytes(batch) == sum(map(size_of, part.to_pylist()))


NESTED: list[pa.Array] = [
    pa.array([["a", "中中"], [], None, [None]]),
    pa.array([["a", "b"], ["", "cd"], None], pa.large_list(pa.large_string())),
    pa.array([["a", "b"], None, [None, "cd"]], pa.list_(pa.string(), 2)),
    pa.array([[["a"], []], [["bc", "d"], None], None]),
    pa.array([[{"role": "x", "content": "中"}, None], [], [{"role": None, "content": "y"}]]),
    pa.array([{"a": ["xy"], "b": 1}, None, {"a": None, "b": None}, {"a": [], "b": 2}]),
    pa.array([[("a", "b"), ("c", None)], None, []], pa.map_(pa.string(), pa.string())),
    pa.array([["a", None], ["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    pa.array([b"abc", None]),
]


@pytest.mark.parametrize("array", [*MEASURED, *NESTED], ids=lambda array: str(array.type))
def test_the_size_of_a_row_is_that_of_its_text(array: pa.Array) -> None:
    for start in range(len(array)):
        part = array.slice(start)
        batch = pa.RecordBatch.from_pydict({"a": part})
        assert text_sizes(batch).tolist() == list(map(size_of, part.to_pylist()))


def test_what_is_nested_is_measured_with_all_that_is_in_it() -> None:
    lists = pa.array([["a", "bcd"], None, [None]], pa.list_(pa.dictionary(pa.int32(), pa.string())))
    maps = pa.array([[("a", "b")], None, [("cc", None)]], pa.map_(pa.string(), pa.string()))
    fixed = pa.array([[1, 2], [3, 4], None], pa.list_(pa.int8(), 2))
    structs = pa.array([{"a": "xy", "b": [1]}, {"a": None, "b": []}, {"a": "", "b": None}])
    expected = (
        (lists, [12, 8, 16]),
        (maps, [10, 8, 18]),
        (fixed, [24, 24, 8]),
        (structs, [18, 16, 8]),
    )
    for array, sizes in expected:
        batch = pa.RecordBatch.from_pydict({"a": array})
        assert [row_bytes(batch.slice(i, 1)) for i in range(3)] == sizes
        assert row_bytes(batch) == sum(sizes)


def test_a_batch_is_cut_into_parts_of_few_bytes() -> None:
    batch = pa.RecordBatch.from_pydict({"a": ["x" * size for size in (5, 900, 5, 5, 5, 90, 5)]})
    parts = list(parts_of(batch, 100))
    assert [offset for offset, _ in parts] == [0, 1, 2, 3, 5]
    assert pa.Table.from_batches([part for _, part in parts]) == pa.Table.from_batches([batch])


@pytest.mark.parametrize(
    "array",
    [
        pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array(["a"])),
        pa.array([["a"]] * 3, pa.list_view(pa.string())),
        pa.array([[["a"]]] * 3, pa.list_(pa.list_view(pa.string()))),
    ],
    ids=lambda array: str(array.type),
)
def test_types_whose_size_cannot_be_told_are_refused_when_they_are_asked_for(
    tmp_path: Path, array: pa.Array
) -> None:
    table = pa.table({"text": array, "other": ["x"] * 3})
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    assert len(read(path, ("other",))) == 3
    with pytest.raises(DataError, match=r"column text is of the type .*, which is not supported"):
        read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_with_a_dot_in_its_name_comes_before_a_nested_field(
    tmp_path: Path, kind: str, make_corpus: Callable[..., Corpus]
) -> None:
    table = pa.table(
        {"meta.x": ["a", "b"], "meta": [{"x": "no", "y": "c"}, {"x": "no", "y": "d"}], "q": [1, 2]}
    )
    path = write(tmp_path, kind, table)
    fields = 'fields: {text: "{meta.x}{meta.y}"}, where: [{field: q, at_least: 2}]'
    corpus = make_corpus(f'{{language: en, kind: text, paths: ["{path.name}"], {fields}}}')
    rows = ShardReader(corpus, tmp_path).read(list_shards(corpus, tmp_path)[0])
    assert [raw.value for raw in rows] == [
        {"meta.x": x, "meta": {"x": "no", "y": y}, "q": q}
        for x, y, q in (("a", "c", 1), ("b", "d", 2))
    ]


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.arrow.zst"])
def test_a_columnar_file_within_another_compression_is_refused(tmp_path: Path, name: str) -> None:
    """It is no damage: `damaged_shards: quarantine` must not leave it out."""
    (tmp_path / name).write_bytes(b"any")
    reader = parquet.read_parquet if "parquet" in name else tables.read_arrow
    with pytest.raises(
        DataError, match=r"cannot be read from (gzip|zstd).*decompress the file"
    ) as caught:
        list(reader(ShardFiles((tmp_path / name,), (), ("text",), (), 0)))
    assert not isinstance(caught.value, DamagedShardError)
    with pytest.raises(DataError, match="decompress the file"):
        tables.schema_of(tmp_path / name)


def test_a_column_name_that_is_not_utf8_is_damage(tmp_path: Path) -> None:
    for kind in KINDS[1:]:
        path = write(tmp_path, kind, pa.table({"text": TEXTS, "other": TEXTS}))
        path.write_bytes(path.read_bytes().replace(b"other", b"oth\xffr"))
        with pytest.raises(DamagedShardError, match="truncated or damaged"):
            read(path)
        with pytest.raises(DamagedShardError, match="truncated or damaged"):
            tables.schema_of(path)


def test_a_value_that_python_has_not_is_a_bad_record(tmp_path: Path) -> None:
    times = pa.array([0, 2**62, 1], pa.timestamp("s"))
    for kind in KINDS[1:]:
        path = write(tmp_path, kind, pa.table({"text": times}))
        first, bad, last = read(path)
        assert first.value is not None
        assert last.value is not None
        assert "a value cannot be read" in (bad.error or "")
