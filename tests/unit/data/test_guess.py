"""linly.data.guess: format, encoding, kind, fields and language from shards."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.data.guess import Guess, guess_corpus, guess_fields, guess_format, is_about
from linly.errors import DataError


@pytest.mark.parametrize(
    ("record", "kind", "language", "fields"),
    [
        ({"text": "A page."}, "text", "en", {"text": "text"}),
        ({"id": "53", "url": "http://a.b/long/address", "title": "数学", "text": "数学\n\n数学是"},
         "text", "zh", {"text": "text"}),
        ({"title": "标题", "desc": "短", "content": "正文"}, "text", "zh",
         {"text": "{title?}\n\n{content}"}),
        ({"文件名": "a", "段落": [{"行号": 0, "内容": "第一段"}]}, "text", "zh",
         {"text": "段落.内容"}),
        ({"id": "x", "paragraph": "Слова и ещё слова."}, "text", "ru", {"text": "paragraph"}),
        ({"text": "これは日本語の文章です。"}, "text", "ja", {"text": "text"}),
        ({"text": "한국어 문장"}, "text", "ko", {"text": "text"}),
        ({"english": "One.", "chinese": "一。"}, "parallel", None,
         {"zh": "chinese", "en": "english"}),
        ({"zh_text": "一。", "en_text": "One."}, "parallel", None,
         {"zh": "zh_text", "en": "en_text"}),
        ({"translation": {"en": "One.", "zh": "一。"}}, "parallel", None,
         {"zh": "translation.zh", "en": "translation.en"}),
        ({"a": "One.", "b": "一。"}, "parallel", None, {"zh": "b", "en": "a"}),
        ({"instruction": "问", "input": "", "output": "答"}, "instruction", "zh",
         {"instruction": "instruction", "input": "input?", "output": "output"}),
        ({"kind": "x", "input": "问", "target": "答"}, "instruction", "zh",
         {"instruction": "input", "output": "target"}),
        ({"inputs": "Q", "targets": "An answer", "task": "t"}, "instruction", "en",
         {"instruction": "inputs", "output": "targets"}),
        ({"messages": [{"content": "Hi", "role": "user"}]}, "conversation", "en",
         {"messages": "messages", "role": "role", "content": "content"}),
        ({"id": "1", "conversations": [{"from": "human", "value": "你好"}]}, "conversation", "zh",
         {"messages": "conversations", "role": "from", "content": "value"}),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}]}, "conversation", "en",
         {"messages": "conversation", "user": "human", "assistant": "assistant"}),
        ({"topic": "t", "input": "x\n[|Human|] Hi\n[|AI|] Hello"}, "conversation", "en",
         {"text": "input", "user_mark": "[|Human|]", "assistant_mark": "[|AI|]"}),
    ],
)  # fmt: skip
def test_the_names_of_fields_tell_what_a_record_is(
    record: dict[str, Any], kind: str, language: str | None, fields: dict[str, str]
) -> None:
    assert guess_fields([record]) == Guess(None, None, (), kind, language, fields)


def test_records_without_text_are_an_error() -> None:
    with pytest.raises(DataError, match=r"no field of the records holds text; .* a, b"):
        guess_fields([{"a": 1, "b": None}])


def test_a_field_that_is_empty_in_the_first_record_is_found_in_the_next() -> None:
    turns = {"messages": [{"role": "user", "content": "Hi"}]}
    assert guess_fields([{"messages": []}, turns]).kind == "conversation"
    assert guess_fields([{"text": None, "content": "正文"}]).fields == {"text": "content"}
    asked = {"input": "问", "target": "答"}
    several = [asked, asked | {"answer_choices": ["答"]}]
    assert guess_fields(several).fields["choices"] == "answer_choices?"


@pytest.mark.parametrize(
    ("name", "first", "columns"),
    [
        ("a.csv", '"你好,世界","hello, world"', ("zh", "en")),
        ("a.tsv", "hello there\t你好", ("en", "zh")),
        ("a.csv", "中文,英文", ()),
        ("a.tsv", "english\tchinese", ()),
    ],
)
def test_short_cells_are_no_header(
    tmp_path: Path, name: str, first: str, columns: tuple[str, ...]
) -> None:
    rows = "一,one\n二,two\n" if name == "a.csv" else "one\t一\ntwo\t二\n"
    assert guess_corpus(put(tmp_path, name, f"{first}\n{rows}".encode())).columns == columns


@pytest.mark.parametrize("name", ["a.jsonl.zstd", "a.jsonl.lz4", "a.zip", "a.tar.gz", "a.7z"])
def test_what_is_packed_in_another_way_is_refused_by_name(tmp_path: Path, name: str) -> None:
    data = gzip.compress(b"text") if name.endswith(".gz") else b"text"
    kind = name.removesuffix(".gz").rpartition(".")[2]
    with pytest.raises(DataError, match=rf"{re.escape(name)}: found {kind} data, allowed: plain"):
        guess_corpus(put(tmp_path, name, data))
    with pytest.raises(DataError, match=r"part-0: found gzip data"):
        guess_corpus(put(tmp_path, "part-0", gzip.compress(b"text")))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b'[{"a": 1}, ' + b"[" * 9000),
        ("a.csv", b'text\n"cut'),
        ("a.jsonl", b'{"a": 1}\n'),
        ("a.txt", "中文的文本\n".encode("big5") * 3 + b"\xff\n\xff"),
        ("a.txt", b"\0\0\0"),
    ],
)
def test_an_error_names_the_shard(tmp_path: Path, name: str, data: bytes) -> None:
    path = put(tmp_path, name, data)
    with pytest.raises(DataError, match=re.escape(str(path))):
        guess_corpus(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    guess = guess_corpus(put(tmp_path, "a.jsonl", '{"text": "汉字"}\n'.encode(encoding)))
    assert (guess.encoding, guess.format, guess.language) == (encoding, None, "zh")
    table = put(tmp_path, "a.csv", "text\n汉字\n".encode(encoding))
    assert guess_corpus(table).fields == {"text": "text"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("README.md", True),
        ("d/LICENSE", True),
        ("dataset_info.json", True),
        ("notice.jsonl", False),
    ],
)
def test_files_that_describe_others_are_known(name: str, expected: bool) -> None:
    assert is_about(name) is expected


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.json", b'[{"a": 1}', "json"),
        ("a.json", b'{"a": 1}\n{"a": 2}', "jsonl"),
        ("wiki_00", b'\xef\xbb\xbf{"a": 1}', "jsonl"),
        ("part", b"PAR1...", "parquet"),
        ("cache", b"\xff\xff\xff\xff....", "arrow"),
        ("a", b'<?xml version="1.0"?><tmx version="1.4">', "tmx"),
        ("a", b"one\ttwo\nthree\tfour\n", "tsv"),
        ("a", b"a line\nanother\tline\n", "txt"),
        ("a.csv", b"a,b\n", "csv"),
        ("a.txt", b"[x] a line", "txt"),
    ],
)
def test_the_first_bytes_tell_a_format_where_the_name_does_not(
    name: str, head: bytes, expected: str
) -> None:
    assert guess_format(Path(name), head) == expected


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_a_name_that_misleads_is_corrected(tmp_path: Path) -> None:
    lines = orjson.dumps({"text": "A page."}) + b"\n"
    assert guess_corpus(put(tmp_path, "a.json", lines * 3)).format == "jsonl"
    assert guess_corpus(put(tmp_path, "a.jsonl.gz", gzip.compress(lines))).format is None


def test_gb18030_is_found(tmp_path: Path) -> None:
    data = "标题,正文\n问题,回答\n".encode("gb18030")
    guess = guess_corpus(put(tmp_path, "a.csv", data))
    assert (guess.encoding, guess.columns, guess.language) == ("gb18030", (), "zh")
    assert guess_corpus(put(tmp_path, "a.txt", "汉字\n".encode())).encoding is None


def test_columns_without_a_header_are_named_by_their_languages(tmp_path: Path) -> None:
    data = "Hello there, Tom!\t你好，汤姆！\nBye now.\t再见。\n".encode()
    guess = guess_corpus(put(tmp_path, "a.tsv", data))
    assert (guess.kind, guess.columns) == ("parallel", ("en", "zh"))
    assert guess.fields == {"zh": "zh", "en": "en"}


def test_columnar_and_translation_files_are_looked_into(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["x"], "content": ["A page."]}), tmp_path / "a.parquet")
    assert guess_corpus(tmp_path / "a.parquet").fields == {"text": "content"}
    tmx = '<tmx><body><tu><tuv xml:lang="en"><seg>One.</seg></tuv><tuv xml:lang="zh-CN"><seg>一。'
    tmx += "</seg></tuv></tu></body></tmx>"
    guess = guess_corpus(put(tmp_path, "a.tmx", tmx.encode()))
    assert (guess.kind, guess.fields) == ("parallel", {"zh": "zh-CN", "en": "en"})


def test_a_shard_without_a_readable_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no record among its first 200 can be read as jsonl"):
        guess_corpus(put(tmp_path, "a.jsonl", b"no json\n" * 5))


def test_a_system_text_and_tools_beside_a_chat_are_named() -> None:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    for name in ("system", "system_prompt"):
        guess = guess_fields(
            [{"conversations": turns, name: ""}, {"conversations": turns, name: "Be."}]
        )
        assert guess.fields["system"] == f"{name}?"
    guess = guess_fields([{"conversations": turns, "tools": "[]", "system": ""}])
    assert guess.fields.keys() == {"messages", "role", "content", "tools"}
