"""linly.streams: bounded reading, damage and bombs found."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path

import pytest
import zstandard

from linly.errors import DataError
from linly.streams import Utf8Stream, as_utf8, count_lines, iter_lines, open_stream
from tests.support.peak_memory import peak_bytes, reset_peak

TEXT = b"".join(b"line %d: %x\n" % (i, i * 2654435761 % 2**32) for i in range(60_000))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def whole(suffix: str) -> bytes:
    """TEXT twice, each a frame, member or stream of its own."""
    compress = {"zst": zstd, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    return compress[suffix](TEXT) * 2


SUFFIXES = ["zst", "gz", "bz2", "xz"]


def read_all(path: Path) -> bytes:
    with open_stream(path) as stream:
        return b"".join(iter(lambda: stream.read(100_000), b""))


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", TEXT),
        ("a.zst", zstd(TEXT)),
        ("two-frames.zst", zstd(TEXT[:1000]) + zstd(TEXT[1000:])),
        ("skippable.zst", SKIPPABLE + zstd(TEXT[:70]) + SKIPPABLE + zstd(TEXT[70:]) + SKIPPABLE),
        ("a.gz", gzip.compress(TEXT)),
        ("two-members.gz", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        ("padded.gz", gzip.compress(TEXT) + bytes(512)),
        ("two-padded.gz", gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]) + bytes(1 << 20)),
        ("a.bz2", bz2.compress(TEXT)),
        ("two-streams.bz2", bz2.compress(TEXT[:1000]) + bz2.compress(TEXT[1000:])),
        ("a.xz", lzma.compress(TEXT)),
        ("two-streams.xz", lzma.compress(TEXT[:1000]) + lzma.compress(TEXT[1000:])),
        ("padded.xz", lzma.compress(TEXT[:9]) + bytes(8) + lzma.compress(TEXT[9:]) + bytes(4)),
        ("empty-stream.xz", lzma.compress(b"") + lzma.compress(TEXT) + lzma.compress(b"")),
    ],
)
def test_reads_all_of_a_whole_file(tmp_path: Path, name: str, data: bytes) -> None:
    assert read_all(put(tmp_path, name, data)) == TEXT


@pytest.mark.parametrize("cut", [1, 4, 5, 1000, 50_000])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_short_is_an_error_with_its_position(
    tmp_path: Path, suffix: str, cut: int
) -> None:
    path = put(tmp_path, f"a.{suffix}", whole(suffix)[:-cut])
    with pytest.raises(DataError, match=r"truncated: it ends after [\d,]+ bytes of text"):
        read_all(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_in_its_first_header_is_an_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match="truncated"):
        read_all(put(tmp_path, f"a.{suffix}", whole(suffix)[:3]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_bit_is_an_error(tmp_path: Path, suffix: str) -> None:
    damaged = bytearray(whole(suffix))
    damaged[len(damaged) // 4] ^= 4
    with pytest.raises(DataError, match=rf"a\.{suffix}: the .* data is damaged after"):
        read_all(put(tmp_path, f"a.{suffix}", bytes(damaged)))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_read_never_gives_more_than_asked(tmp_path: Path, size: int) -> None:
    for suffix in SUFFIXES:
        with open_stream(put(tmp_path, f"a.{suffix}", whole(suffix))) as stream:
            assert stream.read(size) == TEXT[:size]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("gzip-named.zst", gzip.compress(TEXT), "damaged"),
        ("zstd-named.gz", zstd(TEXT), "damaged"),
        ("garbage-after.zst", zstd(TEXT) + b"garbage", "damaged"),
        ("zstd-named.bz2", zstd(TEXT), "damaged"),
        ("zstd-named.xz", zstd(TEXT), "damaged"),
        ("zeros-and-garbage-after.gz", gzip.compress(TEXT) + bytes(512) + b"x", "damaged"),
        ("zeros-between.gz", gzip.compress(TEXT) + bytes(9) + gzip.compress(TEXT), "damaged"),
        ("garbage-after.bz2", bz2.compress(TEXT) + b"garbage", "damaged"),
        ("garbage-after.xz", lzma.compress(TEXT) + b"garbage garbage", "damaged"),
        ("odd-padding.xz", lzma.compress(TEXT) + bytes(3) + lzma.compress(TEXT), "damaged"),
        ("odd-end.xz", lzma.compress(TEXT) + bytes(3), "truncated"),
        ("empty.zst", b"", "is empty"),
        ("empty.jsonl", b"", "is empty"),
    ],
)
def test_what_is_not_of_its_format_is_an_error(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_all(put(tmp_path, name, data))


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        open_stream(tmp_path / "none.zst")


def test_a_huge_window_is_refused(tmp_path: Path) -> None:
    def with_window(log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=log)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return compressor.compress(TEXT) + compressor.flush()

    assert read_all(put(tmp_path, "allowed.zst", with_window(27))) == TEXT
    with pytest.raises(DataError, match="window is larger than 128 MiB"):
        read_all(put(tmp_path, "huge.zst", with_window(28)))


def test_a_huge_dictionary_of_xz_is_refused(tmp_path: Path) -> None:
    def with_dictionary(size: int) -> bytes:
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": size}]
        return lzma.compress(TEXT, filters=filters)

    assert read_all(put(tmp_path, "allowed.xz", with_dictionary(128 << 20))) == TEXT
    with pytest.raises(DataError, match="window is larger than 128 MiB"):
        read_all(put(tmp_path, "huge.xz", with_dictionary(192 << 20)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bomb_is_stopped_in_little_memory(tmp_path: Path, suffix: str) -> None:
    compressor = {
        "zst": zstandard.ZstdCompressor().compressobj,
        "gz": lambda: zlib.compressobj(9, wbits=31),
        "bz2": bz2.BZ2Compressor,
        "xz": lambda: lzma.LZMACompressor(preset=0),
    }[suffix]()
    block = bytes(16 << 20)
    blocks = 17 if suffix in ("bz2", "xz") else 64
    bomb = b"".join(compressor.compress(block) for _ in range(blocks)) + compressor.flush()
    path = put(tmp_path, f"bomb.{suffix}", bomb)
    before = reset_peak()
    with pytest.raises(DataError, match="expand to more than"), open_stream(path) as stream:
        for _ in iter_lines(stream):
            pass
    assert peak_bytes() - before < 256 << 20, "the bomb expands to 1 GiB"


def test_an_over_long_line_is_read_past_and_the_next_lines_follow(tmp_path: Path) -> None:
    long = b" " * (100 << 20)
    path = put(tmp_path, "a.jsonl.zst", zstd(b"before\n" + long + b"\nafter\n"))
    with open_stream(path) as stream:
        lines = list(iter_lines(stream))
    assert lines == [(6, b"before"), (len(long), None), (5, b"after")]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"a\nbc\n\n\ndefg",
        b"a\n",
        b"\n",
        b"a",
        b"\xef\xbb\xbfa\nb\r\nc\n",
        b"x" * 20 + b"\ny",
        b"a\n" + b"x" * 20 + b"\ny\n",
    ],
)
def test_lines_do_not_depend_on_the_size_of_reads(
    chunk: int, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linly.streams.CHUNK_BYTES", max(chunk, 3))
    expected = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not expected[-1]:
        expected.pop()
    lines = list(iter_lines(io.BytesIO(data), max_line_bytes=10))
    assert lines == [(len(line), line if len(line) <= 10 else None) for line in expected]
    assert count_lines(io.BytesIO(data)) == len(expected)


CHINESE = ["汉字", "朱镕基", "€ 一\n二", "𠮷 four bytes", "plain ascii"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_gb18030_becomes_utf8_whatever_the_size_of_reads(size: int) -> None:
    data = "\n".join(CHINESE)
    stream = Utf8Stream(io.BytesIO(data.encode("gb18030")), "gb18030")
    assert b"".join(iter(lambda: stream.read(size), b"")).decode() == data


def test_bytes_that_are_not_of_the_encoding_spoil_their_own_line_only() -> None:
    good = "汉字".encode("gb18030")
    data = b"\n".join([good, b"a\xff\xffb", b"cut \xba", good, b"\x81\x30 x", good + b"\xd7"])
    lines = [line for _, line in iter_lines(Utf8Stream(io.BytesIO(data), "gb18030"))]
    assert [lines[0], lines[3]] == ["汉字".encode()] * 2
    for index in (1, 2, 4, 5):
        with pytest.raises(UnicodeDecodeError):
            (lines[index] or b"").decode()


MULTI_BYTE = ["big5", "big5hkscs", "gbk", "euc-kr", "shift_jis", "iso2022_jp", "hz", "utf-16-be"]


@pytest.mark.parametrize("encoding", [*MULTI_BYTE, "utf-16", "utf-32-le", "utf-7", "cp037"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_every_encoding_of_text_becomes_utf8(encoding: str, size: int) -> None:
    text = "one\ntwo\n" if encoding == "cp037" else "中文 one\n人大 two\n"
    stream = Utf8Stream(io.BytesIO(text.encode(encoding)), encoding)
    assert b"".join(iter(lambda: stream.read(size), b"")).decode() == text


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("utf-16-le", b"\x00\xd8"), ("utf-32-le", b"\x00\xd8\0\0"), ("utf-7", b"+2AA-")],
)
def test_half_a_character_spoils_its_own_line_only(encoding: str, bad: bytes) -> None:
    data = "中\nx".encode(encoding) + bad + "\n文".encode(encoding)
    lines = [line for _, line in iter_lines(Utf8Stream(io.BytesIO(data), encoding))]
    assert lines == ["中".encode(), b"x\xff", "文".encode()]
    cut = [line for _, line in iter_lines(Utf8Stream(io.BytesIO(b"x\0\n\0y"), "utf-16-le"))]
    assert cut == [b"x", b"\xff"]


def test_utf8_is_passed_on_as_it_is() -> None:
    stream = io.BytesIO(b"a")
    assert as_utf8(stream, "utf-8") is stream


@pytest.mark.parametrize("name", ["a.gz", "a.bz2", "a.zst", "a.xz"])
def test_damage_behind_the_text_is_said_to_be_there(tmp_path: Path, name: str) -> None:
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd, "xz": lzma.compress}
    data = compress[name.rpartition(".")[2]](b"a short line\n")
    with pytest.raises(DataError, match="after 13 bytes of text"):
        read_all(put(tmp_path, name, data + b"garbage"))
