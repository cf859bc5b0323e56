"""Reading a shard raises errors of linly and nothing else, whatever the shard holds."""

from __future__ import annotations

import base64
import bz2
import ctypes
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
import zstandard

from linly.config.corpus import Corpus
from linly.data.guessing.guess import guess_corpus
from linly.data.reading import formats
from linly.data.reading.formats import format_of, read_records
from linly.data.reading.shard_files import ShardFiles
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError
from linly.streams import open_stream
from tests.faults.shard_fuzz import SEED, run, sound_shards
from tests.support.peak_memory import peak_bytes, reset_peak

MakeCorpus = Callable[..., Corpus]

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def read(path: Path, *columns: str, kind: str | None = None) -> list[RawRecord]:
    files = ShardFiles((path,), (), columns, (), 0)
    return list(read_records(kind or format_of(path) or "", files))


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_damaged_shards_raise_errors_of_linly_only() -> None:
    ended = run(SEED, 300)
    assert sum(ended.values()) == 300
    assert ended["damage found"] > 150


@pytest.mark.parametrize(
    "error", [KeyError(21), RecursionError("deep"), AssertionError(), RuntimeError("x")]
)
def test_any_error_of_a_library_names_shard_and_cure_and_is_no_damage(
    tmp_path: Path, make_corpus: MakeCorpus, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(files: ShardFiles) -> object:
        raise error

    monkeypatch.setattr(formats, "read_txt", fails)
    path = put(tmp_path, "a.txt", b"one\n")
    corpus = make_corpus(
        '{language: en, kind: text, paths: ["*"], damaged_shards: quarantine}', name="mine"
    )
    (shard,) = list_shards(corpus, tmp_path)
    message = rf"a\.txt: cannot be read as txt: {type(error).__name__}.*`exclude`"
    for reads in (
        lambda: list(ShardReader(corpus, tmp_path).read(shard)),
        lambda: guess_corpus(path),
    ):
        with pytest.raises(DataError, match=message) as caught:
            reads()
        assert not isinstance(caught.value, DamagedShardError)


def test_memory_that_runs_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(files: ShardFiles) -> object:
        raise MemoryError

    monkeypatch.setattr(formats, "read_txt", fails)
    with pytest.raises(DataError, match="not enough memory to read it as txt") as caught:
        read(put(tmp_path, "a.txt", b"one\n"))
    assert not isinstance(caught.value, DamagedShardError)


LINES = [b"%d: the old bridge\n" % i for i in range(200)]
EMPTY = {suffix: compress(b"") for suffix, compress in COMPRESS.items()}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("place", ["first", "middle", "last", "everywhere"])
def test_empty_streams_among_those_of_a_compressed_file_are_no_fault(
    tmp_path: Path, suffix: str, place: str
) -> None:
    compress, empty = COMPRESS[suffix], EMPTY[suffix]
    one, two = compress(b"".join(LINES[:90])), compress(b"".join(LINES[90:]))
    data = {
        "first": empty + one + two,
        "middle": one + empty + empty + two,
        "last": one + two + empty,
        "everywhere": empty * 3 + one + empty + two + empty * 2,
    }[place]
    path = put(tmp_path, f"a.txt{suffix}", data)
    assert [raw.value and raw.value["text"].encode() + b"\n" for raw in read(path)] == LINES
    for size in (1, 1000):
        with open_stream(path) as stream:
            assert b"".join(iter(lambda: stream.read(size), b"")) == b"".join(LINES)  # noqa: B023


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_of_nothing_has_no_record(tmp_path: Path, suffix: str) -> None:
    assert read(put(tmp_path, f"a.txt{suffix}", EMPTY[suffix] * 2)) == []


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("junk", [b"junk" * 9, b"\0" * 3 + b"x", b"\x1f\x8b", b"BZh9", b"\x28\xb5"])
def test_junk_after_a_compressed_file_is_damage_after_its_records(
    tmp_path: Path, suffix: str, junk: bytes
) -> None:
    path = put(tmp_path, f"a.txt{suffix}", COMPRESS[suffix](b"".join(LINES)) + junk)
    found: list[RawRecord] = []
    with pytest.raises(DamagedShardError, match=rf"a\.txt\{suffix}: the .* data is"):
        found.extend(iter(read_records("txt", ShardFiles((path,), (), (), (), 0))))
    assert len(found) == len(LINES)


def test_zstd_that_needs_a_dictionary_says_so_and_is_no_damage(tmp_path: Path) -> None:
    trained = zstandard.train_dictionary(4096, [line * 5 for line in LINES * 10])
    packed = zstandard.ZstdCompressor(dict_data=trained).compress(b"".join(LINES))
    path = put(tmp_path, "a.txt.zst", packed)
    with pytest.raises(DataError, match=r"needs the dictionary .*zstd -d -D") as caught:
        read(path)
    assert not isinstance(caught.value, DamagedShardError)
    half = COMPRESS[".zst"](b"".join(LINES[:90]))
    with pytest.raises(DataError, match="needs the dictionary"):
        read(put(tmp_path, "b.txt.zst", half + packed))


@pytest.mark.parametrize("name", [name for name in sound_shards() if format_of(name)])
def test_a_pipe_in_the_place_of_a_shard_is_refused_at_once(
    tmp_path: Path, make_corpus: MakeCorpus, name: str
) -> None:
    path = put(tmp_path, name, sound_shards()[name])
    corpus = make_corpus(f'{{language: en, kind: text, paths: ["{name}"]}}', name="mine")
    (shard,) = list_shards(corpus, tmp_path)
    path.unlink()
    os.mkfifo(path)
    raised: list[BaseException] = []

    def reads() -> None:
        for attempt in (
            lambda: list(ShardReader(corpus, tmp_path).read(shard)),
            lambda: guess_corpus(path),
        ):
            try:
                attempt()
            except DataError as error:
                raised.append(error)

    thread = threading.Thread(target=reads, daemon=True)
    thread.start()
    thread.join(10)
    assert len(raised) == 2
    assert all("is not a regular file" in str(error) for error in raised)


@pytest.mark.parametrize("what", ["folder", "device"])
def test_only_regular_files_are_opened(tmp_path: Path, what: str) -> None:
    path = Path("/dev/zero") if what == "device" else tmp_path
    with pytest.raises(DataError, match="is not a regular file"):
        read(path, kind="txt")


class _CSchema(ctypes.Structure):
    """Schema of one column in Arrow's C data interface."""

    _fields_ = (
        ("format", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("metadata", ctypes.c_char_p),
        ("flags", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


_RELEASE = ctypes.CFUNCTYPE(None, ctypes.POINTER(_CSchema))


@_RELEASE
def _release(schema: object) -> None:
    schema.contents.release = None  # type: ignore[attr-defined]


def type_without_class(form: bytes) -> pa.DataType:
    """A type that pyarrow itself cannot make."""
    schema = _CSchema(format=form, name=b"", flags=2)
    schema.release = ctypes.cast(_release, ctypes.c_void_p).value
    return pa.DataType._import_from_c(ctypes.addressof(schema))


@pytest.mark.parametrize("form", [b"tiM", b"tiD"])
@pytest.mark.parametrize("nested", [False, True])
def test_arrow_types_that_pyarrow_has_no_class_for_are_refused_by_name(
    tmp_path: Path, form: bytes, nested: bool
) -> None:
    kind = type_without_class(form)
    kind = pa.struct([pa.field("inner", kind)]) if nested else kind
    schema = pa.schema([pa.field("text", pa.string()), pa.field("odd", kind)])
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, schema):
        pass
    assert read(path, "text") == []
    with pytest.raises(DataError, match=r"a\.arrow: column odd is of the type .*interval"):
        read(path, "text", "odd")


def encrypted(path: Path, *, plain_footer: bool, column: str) -> Path:
    class Keys(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, name: str) -> bytes:
            return base64.b64encode(key)

        def unwrap_key(self, key: str, name: str) -> bytes:
            return base64.b64decode(key)

    settings = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": [column]}, plaintext_footer=plain_footer
    )
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    table = pa.table({"text": ["a", "b"], "id": [1, 2]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("plain_footer", [False, True])
def test_encrypted_parquet_is_named_and_no_damage(tmp_path: Path, plain_footer: bool) -> None:
    path = encrypted(tmp_path / "a.parquet", plain_footer=plain_footer, column="text")
    for reads in (lambda: read(path, "text"), lambda: guess_corpus(path)):
        with pytest.raises(DataError, match=r"a\.parquet: is an encrypted parquet") as caught:
            reads()
        assert not isinstance(caught.value, DamagedShardError)


def test_a_column_that_is_not_encrypted_is_read(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "a.parquet", plain_footer=True, column="id")
    assert [raw.value for raw in read(path, "text")] == [{"text": "a"}, {"text": "b"}]


LONG = 9 << 20
"""Numbers of a list that takes more than a row may."""


def numbers(path: Path, sizes: list[int]) -> Path:
    offsets = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    lists = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.nulls(offsets[-1], pa.int8()).fill_null(1)
    )
    texts = [str(i) for i in range(len(sizes))]
    pq.write_table(pa.table({"text": texts, "numbers": lists}), path, row_group_size=1)
    return path


def test_a_row_group_of_over_long_lists_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = numbers(tmp_path / "a.parquet", [3, 12 * LONG, 2])
    before = reset_peak()
    first, refused, last = read(path, "text", "numbers")
    grown = peak_bytes() - before
    assert (first.value, last.value) == (
        {"text": "0", "numbers": [1, 1, 1]}, {"text": "2", "numbers": [1, 1]}
    )  # fmt: skip
    assert "numbers.list.element" in (refused.error or "")
    assert "a row is longer than 67,108,864" in (refused.error or "")
    assert grown < 100 << 20
    files = ShardFiles((path,), (), ("text", "numbers"), (), 1)
    assert list(read_records("parquet", files)) == [refused, last]
    assert [raw.value for raw in read(path, "text")] == [{"text": str(i)} for i in range(3)]


READ = """
import sys
from pathlib import Path
from linly.data.reading.formats import read_records
from linly.data.reading.shard_files import ShardFiles
from linly.errors import DamagedShardError
for name in sys.argv[1:]:
    try:
        found = list(read_records("arrow", ShardFiles((Path(name),), (), ("text", "turns"), (), 0)))
        assert any(raw.error for raw in found)
    except DamagedShardError:
        pass
"""


def test_an_arrow_list_whose_offsets_lead_astray_does_not_end_the_process(tmp_path: Path) -> None:
    sink = io.BytesIO()
    table = pa.table({"text": ["x"] * 50, "turns": [[["a"]] * (i % 3) for i in range(50)]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    offsets = b"".join(sum(i % 3 for i in range(row)).to_bytes(4, "little") for row in range(51))
    assert offsets in data
    paths = [
        put(tmp_path, f"{index}.arrow", data.replace(offsets, offsets[:-4] + wrong))
        for index, wrong in enumerate((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x70"))
    ]
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_open_quote_is_named_by_the_line_where_its_row_begins(tmp_path: Path) -> None:
    rows = [b't%d,"The hill, is green."\n' % i for i in range(500)]
    rows[1] = b't1,"The pipe is long.\n'
    path = put(tmp_path, "a.csv", b"title,text\n" + b"".join(rows))
    with pytest.raises(DamagedShardError, match=r"row that begins on line 3: .*not closed"):
        read(path, "text")
    unquoted = put(tmp_path, "b.csv", b'title,text\n"t0\n\n",a\n"t1,b\nt2,c\n')
    with pytest.raises(DamagedShardError, match=r"up to line 6, in the row that begins on line 5"):
        read(unquoted, "text")


def test_a_carriage_return_in_a_header_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", b"ti\rtle,text\nt0,one\n")
    for reads in (lambda: read(path, "text"), lambda: guess_corpus(path)):
        with pytest.raises(DamagedShardError, match="line 1: a carriage return that ends no line"):
            reads()
