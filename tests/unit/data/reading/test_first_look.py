"""linly.data.reading.first_look: what stands in a shard's place is refused, in every format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linly.config.shard_formats import FORMATS
from linly.data.reading.first_look import check_is_data
from linly.data.reading.formats import read_records
from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".zst": zstandard.compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 1234567\n" % (b"ab" * 32)
PAGE = b"<!DOCTYPE html>\n<html>\n<head><title>403 Forbidden</title></head></html>\n"
XML_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    b"<Message>Access Denied</Message><RequestId>1</RequestId></Error>"
)
STAND_INS = {
    "LFS": LFS,
    "LFS with CRLF": LFS.replace(b"\n", b"\r\n"),
    "LFS with a mark": b"\xef\xbb\xbf" + LFS,
    "LFS as UTF-16": LFS.decode().encode("utf-16"),
    "LFS of a first version": LFS.replace(b"git-lfs.github", b"hawser.github"),
    "LFS with an extension": LFS.replace(b"\noid", b"\next-0-foo sha256:00\noid"),
    "git-annex": b"/annex/objects/SHA256E-s1234--ab.jsonl\n",
    "git-annex link": b"../../.git/annex/objects/aa/bb/SHA256E-s1234--ab/SHA256E-s1234--ab\n",
    "Xet": b"# xet version 0\nfilesize = 1234\nhash = 'ab'\n",
    "page": PAGE,
    "page after white space": b"\r\n \t" + PAGE,
    "page with a mark": b"\xef\xbb\xbf" + PAGE,
    "page after a comment": b"<!-- cached\n -->\n<!-- two --><HTML>",
    "page without a doctype": b"<html lang='en'><body>Sign in</body></html>",
    "page in capitals": b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<HTML><HEAD>\n',
    "page in XHTML": b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">',
    "page of one line": b"<html><head><title>404</title></head></html>",
    "S3 error": XML_ERROR,
    "S3 error on one line": XML_ERROR.replace(b"\n", b""),
    "S3 no such key": b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
    "Azure error": b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>BlobNotFound</Code></Error>',
    "OSS error": XML_ERROR.replace(b"<Error><Code>", b"<Error>\n  <Code>"),
    "S3 listing": b'<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>b</Name>',
    "hub error": b'{"error":"Repository not found"}',
    "hub error in a list": b'{"errors": [{"code": "DENIED", "message": "no"}]}\n',
    "GitHub error": b'{"message": "Not Found", "documentation_url": "https://x", "status": "404"}',
    "API error": b'{\n  "detail": "Not Found"\n}\n',
    "cloud error": b'{"Code": 404, "Message": "no", "RequestId": "1", "Success": false}',
    "error with a code": b'{"error": {"code": 403, "message": "no"}}',
    "plain 404": b"404: Not Found",
    "plain entry": b"Entry not found\n",
}
KINDS = [kind for kind in FORMATS if kind != "moses"]


def read(path: Path, kind: str, **more: object) -> list[RawRecord]:
    given: dict[str, object] = {"names": (), "columns": ("text",)}
    files = ShardFiles((path,), **(given | more), optional_columns=(), start_record=0)  # type: ignore[arg-type]
    return list(read_records(kind, files))


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_refused_in_every_format_and_compression(
    tmp_path: Path, name: str, suffix: str
) -> None:
    data = STAND_INS[name]
    paths = [put(tmp_path, f"a{suffix}", COMPRESS[suffix](data))]
    if suffix:  # the answer itself under the name of compressed data
        paths.append(put(tmp_path, f"b{suffix}", data))
    expected = (
        "pointer instead of the file"
        if "LFS" in name or "git" in name or name == "Xet"
        else "sent in place of the file"
    )
    for path in paths:
        for kind in KINDS:
            with pytest.raises(DamagedShardError, match=expected):
                read(path, kind)
        with pytest.raises(DamagedShardError, match=expected):
            check_is_data(path)


@pytest.mark.parametrize("name", ["LFS", "page", "plain 404"])
def test_a_stand_in_on_both_sides_is_no_pair(tmp_path: Path, name: str) -> None:
    paths = tuple(put(tmp_path, side, STAND_INS[name]) for side in ("a.en", "a.zh"))
    files = ShardFiles(paths, ("en", "zh"), ("en", "zh"), (), 0)
    with pytest.raises(DamagedShardError, match=r"a\.en: is a"):
        list(read_records("moses", files))


RECORDS = {
    "a field is named error": ("a.jsonl", b'{"error": "x", "text": "y"}\n', ("text",)),
    "the text is the message": ("a.jsonl", b'{"message": "hello"}\n', ("message",)),
    "the text is the error": ("a.jsonl", b'{"error": "a story", "code": 1}', ("error",)),
    "nested in message": ("a.jsonl", b'{"message": {"x": "y"}, "type": "z"}', ("message.x",)),
    "two records": ("a.jsonl", b'{"error": "x"}\n{"error": "y"}\n', ("error",)),
    "HTML in a text": ("a.jsonl", b'{"text": "<!DOCTYPE html><html>"}\n', ("text",)),
    "talk of LFS": ("a.txt", b"A version https://git-lfs.github.com/spec/v1 is first.\n", ()),
    "talk of errors": ("a.txt", b"Not found were the keys.\n", ()),
    "talk of not found": ("a.txt", b"Not found\nThe keys were not found.\n", ()),
    "a page later on": ("a.txt", b"First.\n<!DOCTYPE html><html>\n", ()),
    "tags": ("a.txt", b"<error> is a tag of XML.\n", ()),
    "csv of tags": ("a.csv", b"text\n<html>\n", ("text",)),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_look_like_an_answer_are_taken(tmp_path: Path, name: str) -> None:
    file, data, columns = RECORDS[name]
    found = read(put(tmp_path, file, data), file.rpartition(".")[2], columns=columns)
    assert found
    assert [raw.error for raw in found] == [None] * len(found)


TEXT = b'{"text": "one"}\n{"text": "two"}\n'
TEXT_KINDS = [kind for kind in KINDS if FORMATS[kind].layout != "columnar"]


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["one"]}), sink)
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": ["one"]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


MISNAMED = {
    "gzip without suffix": ("a.jsonl", gzip.compress(TEXT), "holds gzip data.*add .gz"),
    "zstd without suffix": ("a.jsonl", zstandard.compress(TEXT), "holds zstd data.*add .zst"),
    "bzip2 without suffix": ("a.jsonl", bz2.compress(TEXT), "holds bz2 data.*add .bz2"),
    "xz without suffix": ("a.jsonl", lzma.compress(TEXT), "holds xz data.*add .xz"),
    "gzip twice": ("a.gz", gzip.compress(gzip.compress(TEXT)), "compressed once more.*add .gz"),
    "gzip in zstd": ("a.zst", zstandard.compress(gzip.compress(TEXT)), "holds gzip data"),
    "gzip named zst": ("a.zst", gzip.compress(TEXT), "damaged or misnamed.*rename it to .gz"),
    "zstd named gz": ("a.gz", zstandard.compress(TEXT), "rename it to .zst"),
    "bzip2 named xz": ("a.xz", bz2.compress(TEXT), "rename it to .bz2"),
    "text named gz": ("a.gz", TEXT, "plain text, not gzip data; remove .gz"),
    "text named bz2": ("a.bz2", TEXT, "plain text, not bz2 data; remove .bz2"),
    "parquet named jsonl": ("a.jsonl", parquet(), "found parquet data, expected"),
    "Arrow named jsonl": ("a.jsonl", arrow(), "found Arrow data, expected"),
    "zip": ("a.jsonl", b"PK\x03\x04" + bytes(100), "found zip data, expected"),
    "tar": ("a.jsonl", b"a.jsonl" + bytes(250) + b"ustar" + bytes(250), "found tar data"),
    "tar in gzip": ("a.gz", gzip.compress(b"a".ljust(257, b"\0") + b"ustar"), "found tar data"),
    "PDF": ("a.txt", b"%PDF-1.7\n", "found PDF data"),
}


@pytest.mark.parametrize("name", MISNAMED)
def test_data_of_another_kind_than_named_is_an_error_that_says_what_it_is(
    tmp_path: Path, name: str
) -> None:
    file, data, message = MISNAMED[name]
    path = put(tmp_path, file, data)
    for kind in TEXT_KINDS:
        with pytest.raises(DataError, match=message):
            read(path, kind)


WIDE = {
    "utf-16": ("\ufeff", "utf-16-le"),
    "utf-16 big": ("\ufeff", "utf-16-be"),
    "utf-32": ("\ufeff", "utf-32-le"),
    "utf-32 big": ("\ufeff", "utf-32-be"),
    "no mark": ("", "utf-16-le"),
    "no mark, big": ("", "utf-16-be"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", WIDE)
def test_text_of_wide_characters_is_named_where_the_corpus_says_another_encoding(
    tmp_path: Path, name: str, suffix: str
) -> None:
    mark, encoding = WIDE[name]
    data = COMPRESS[suffix]((mark + "text\nthe river runs\n").encode(encoding))
    path = put(tmp_path, f"a{suffix}", data)
    for kind in TEXT_KINDS:
        if FORMATS[kind].declares_encoding:
            continue
        with pytest.raises(
            DataError, match=rf"first bytes are {encoding[:6]}\S*, .*set `encoding: utf-"
        ):
            read(path, kind)
    other = put(tmp_path, "b.txt", b"the river runs\nto the sea\n")
    files = ShardFiles((other, path), ("en", "zh"), (), (), 0)
    with pytest.raises(DataError, match=rf"first bytes are {encoding[:6]}"):
        list(read_records("moses", files))
    assert read(path, "txt", encoding="utf-16" if encoding[:6] == "utf-16" and mark else encoding)


CR_ONLY = {
    "all returns": b"text\rone\rtwo\r",
    "no return at the end": b"text\rone\rtwo",
    "a newline at the end": b"text\rone\rtwo\n",
    "newlines at the end": b"text\rone\rtwo\r\n\r\n \n",
    "a mark": b"\xef\xbb\xbftext\rone\rtwo\r",
    "a long first line": b"x" * 300_000 + b"\rone\r",
    "a return at a chunk's end": b"x" * ((256 << 10) - 1) + b"\rone\r",
}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", CR_ONLY)
def test_lines_that_end_in_carriage_returns_only_are_an_error_in_every_format_of_lines(
    tmp_path: Path, name: str, suffix: str
) -> None:
    path = put(tmp_path, f"a{suffix}", COMPRESS[suffix](CR_ONLY[name]))
    for kind in [kind for kind in KINDS if FORMATS[kind].layout == "lines"]:
        with pytest.raises(DataError, match="carriage returns only"):
            read(path, kind)
    for paths in ((path, path), (put(tmp_path, "b", b"one\ntwo\nthree\n"), path)):
        with pytest.raises(DataError, match="carriage returns only"):
            list(read_records("moses", ShardFiles(paths, ("en", "zh"), (), (), 0)))


@pytest.mark.parametrize(
    "data",
    [
        b"one\r\ntwo\r\n",
        b"one\r\n",
        b"one\r",
        b"one",
        b"one\rstill one\ntwo\n",
        b"one\n\rtwo\n",
        b"x" * ((256 << 10) - 1) + b"\r\ntwo\r\n",
    ],
)
def test_a_carriage_return_within_or_before_a_line_end_is_no_error(
    tmp_path: Path, data: bytes
) -> None:
    found = read(put(tmp_path, "a.txt", data), "txt")
    assert len(found) == data.count(b"\n") + (not data.endswith(b"\n"))


def test_carriage_returns_are_white_space_in_arrays_and_translation_memories(
    tmp_path: Path,
) -> None:
    array = put(tmp_path, "a.json", orjson.dumps([{"text": "a"}]).replace(b"{", b"\r{\r"))
    assert [raw.value for raw in read(array, "json")] == [{"text": "a"}]
    unit = b'<tmx>\r<body>\r<tu>\r<tuv xml:lang="en">\r<seg>a</seg></tuv></tu></body></tmx>\r'
    memory = put(tmp_path, "a.tmx", unit)
    assert [raw.value for raw in read(memory, "tmx", columns=("en",))] == [{"en": "a"}]
