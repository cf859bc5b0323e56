"""Readers of formats: bad records, dialects, encodings and line-aligned files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.fields import write_path
from linly.data.reading import formats, json_array
from linly.data.reading.formats import format_of, reader_of
from linly.data.reading.records import parse_field, paths_of
from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DataError
from tests.support.shard_samples import arrow, jsonl, put, tmx

TEXTS = ["one", "zwei \u2028 drei", "三\n四", 'quo"te\\', " spaced ", "x" * 3000, "七", "8"]


def shard(
    *paths: Path,
    names: tuple[str, ...] = (),
    columns: tuple[str, ...] = ("text",),
    start: int = 0,
    encoding: str = "utf-8",
) -> ShardFiles:
    return ShardFiles(paths, names, columns, (), start, encoding)


def read(path: Path, kind: str | None = None, **settings: object) -> list[RawRecord]:
    return list(reader_of(kind or format_of(path))(shard(path, **settings)))  # type: ignore[arg-type]


BAD_LINES = {
    "bad UTF-8": b'{"text": "\xff\xfe"}',
    "no object": b'["text"]',
    "number": b"12",
    "cut": b'{"text": "cut',
    "lone surrogate": b'{"text": "\\ud800"}',
    "raw NUL": b'{"text": "a\x00b"}',
    "NaN": b'{"text": NaN}',
    "deep": b"[" * 5000 + b"]" * 5000,
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_of_jsonl_is_given_with_its_error_and_reading_goes_on(
    tmp_path: Path, fault: str
) -> None:
    path = put(tmp_path, "a.jsonl", b'{"text": "a"}\n' + BAD_LINES[fault] + b'\n{"text": "b"}\n')
    first, bad, last = read(path)
    assert (first.value, last.value) == ({"text": "a"}, {"text": "b"})
    assert bad.record == 1
    assert bad.value is None
    assert bad.error


def test_an_over_long_line_is_a_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = b'{"text": "' + b" " * (65 << 20) + b'"}'
    path = put(tmp_path, "a.jsonl.zst", b'{"text": "a"}\n' + long + b'\n{"text": "b"}\n')
    first, bad, last = read(path)
    assert (first.record, bad.record, last.record) == (0, 1, 2)
    assert "longer than" in (bad.error or "")
    assert last.value == {"text": "b"}


def test_a_byte_order_mark_crlf_and_blank_lines_are_no_faults(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}'
    assert [(r.record, r.value) for r in read(put(tmp_path, "a.jsonl", data))] == [
        (0, {"text": "a"}),
        (3, {"text": "b"}),
    ]
    lines = put(tmp_path, "a.txt", b"\xef\xbb\xbfa\r\n\r\nb\r\n")
    assert [(r.record, r.value) for r in read(lines)] == [(0, {"text": "a"}), (2, {"text": "b"})]
    table = put(tmp_path, "a.tsv", b"\xef\xbb\xbftext\tx\r\na\t1\r\n")
    assert [r.value for r in read(table)] == [{"text": "a", "x": "1"}]
    array = put(tmp_path, "a.json", b'\xef\xbb\xbf\r\n[{"text": "a"}]\r\n')
    assert [r.value for r in read(array)] == [{"text": "a"}]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv"])
def test_bad_utf8_in_a_line_is_a_bad_record(tmp_path: Path, name: str) -> None:
    good, bad, after = read(put(tmp_path, name, b"a\n\xff\xfe\nb\n"), names=("text",))
    assert "bad UTF-8" in (bad.error or "")
    assert (good.value, after.value) == ({"text": "a"}, {"text": "b"})


def test_a_wrong_number_of_columns_is_a_bad_record(tmp_path: Path) -> None:
    path = put(tmp_path, "a.tsv", b"a\tb\nonly one\nx\ty\tz\n")
    good, short, long = read(path, names=("en", "zh"))
    assert good.value == {"en": "a", "zh": "b"}
    assert short.error == "1 columns instead of 2 (en, zh)"
    assert long.error == "3 columns instead of 2 (en, zh)"


def test_broken_quoting_in_csv_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="broken quoting up to line 3"):
        read(put(tmp_path, "a.csv", b'text\na\n"b"c\n'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'"text"\n', "set `format: jsonl`"),
        (b'{"text": "a"}\n{"text": ', "element 1 of the JSON array is truncated"),
        (b'{"text": "a"}, {"text": "b"}', "no object begins after object 0, but text with ','"),
        (b'[{"text": "a"} {"text": "b"}]', "'{' instead of ',' or ']'"),
        (b'[{"text": "a"}, {"text": }]', "element 1 of the JSON array is truncated or malformed"),
        (b'[{"text": "a"}', "ends after element 0"),
        (b'[{"text": "a"}, ', "element 1 of the JSON array is truncated"),
        (b'[{"text": "a"}] more', "text after the end"),
        (b'[{"text": "a"},]', "',' before ']'"),
        (b'[,{"text": "a"}]', "element 0 of the JSON array is truncated or malformed"),
        (b"   ", "not a JSON array"),
        (b"[" * 100_000, "element 0 of the JSON array is truncated or malformed: it has no end"),
    ],
)
def test_a_broken_array_is_an_error(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(put(tmp_path, "a.json", text))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 17, 64])
def test_an_array_does_not_depend_on_the_size_of_reads(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "CHUNK_BYTES", chunk)
    values = [{"a": "三\n四 ]}"}, {}, [1, 2], 1234567, "x", {"b": {"c": ["\"'"]}}, 1.5e10, None]
    for text in (json.dumps(values, ensure_ascii=False), json.dumps(values, indent=2), "[]"):
        found = list(json_array.array_elements(io.BytesIO(text.encode())))
        assert [orjson.loads(element) for element in found] == json.loads(text)


def test_elements_that_are_no_objects_are_bad_records(tmp_path: Path) -> None:
    found = read(put(tmp_path, "a.json", b'[{"text": "a"}, 3, {"text": "b"}]'))
    assert [raw.error for raw in found] == [None, "not a JSON object but int", None]


def nested(depth: int) -> bytes:
    return b'{"text": "]\\"", "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


REFUSED = {
    "deep": (nested(501), "nested deeper than 500"),
    "very deep": (nested(100_000), "nested deeper than 500"),
    "integer": (b'{"x": {"y": ' + b"1" * 5000 + b'}, "z": "}"}', "not JSON: number is infinity"),
    "exponent": (b'{"x": [1e999], "z": "]}"}', "not JSON: number is infinity"),
    "NaN": (b'{"x": [NaN], "z": "]}"}', "not JSON: unexpected character"),
    "infinity": (b'{"x": -Infinity}', "not JSON"),
    "alone": (b"NaN", "not JSON: unexpected character"),
    "control character": (b'{"x": "a\x1fb", "z": "]}"}', "not JSON: unexpected control"),
    "raw newline": (b'{"x": "a\nb", "z": "]}"}', "not JSON: unexpected control"),
    "NUL": (b'{"x": "a\0b", "z": "]}"}', "not JSON: unexpected control"),
    "bad UTF-8": (b'{"x": "\xff]}"}', "not JSON: str is not valid UTF-8"),
    "lone surrogate": (b'{"x": "\\ud83d]}"}', "not JSON: no low surrogate"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("chunk", [3, json_array.CHUNK_BYTES])
def test_an_element_that_cannot_be_taken_is_one_bad_record(
    tmp_path: Path, name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "CHUNK_BYTES", chunk)
    element, reason = REFUSED[name]
    path = put(tmp_path, "a.json", b'[{"text": "a"},\n' + element + b' , {"text": "b"}]')
    first, bad, last = read(path)
    assert (first.value, last.value) == ({"text": "a"}, {"text": "b"})
    assert bad.value is None
    assert (bad.error or "").startswith(reason)
    assert bad.size_bytes == len(element)
    assert read(path, start=2) == [last]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_a_bad_record_in_lines_and_in_arrays(
    tmp_path: Path, constant: str
) -> None:
    text = f'{{"text": "a", "x": {constant}}}'
    for name, content in (("a.jsonl", text), ("a.json", f"[{text}]")):
        (found,) = read(put(tmp_path, name, content.encode()))
        assert (found.error or "").startswith("not JSON")


def test_an_element_as_deep_as_allowed_is_taken(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl"):
        brackets = (b"[", b"]") if name == "a.json" else (b"", b"")
        (taken,) = read(put(tmp_path, name, brackets[0] + nested(500) + brackets[1]))
        assert taken.error is None
        (refused,) = read(put(tmp_path, name, brackets[0] + nested(501) + brackets[1]))
        assert (refused.error or "").startswith("nested deeper than 500")


def test_of_a_long_record_only_what_is_asked_for_is_kept(tmp_path: Path) -> None:
    """Parsed, the rest could take 30 times its text."""
    long: dict[str, object] = {"text": "t", "meta": {"a": 1}, "x.y": "z", "rest": [[]] * 3000}
    short: dict[str, object] = {"text": "u", "meta": {"a": 2}, "x.y": "w", "rest": [[]]}
    kept = long | {"rest": formats.UNREAD}
    asked = {"columns": ("text", "meta.a"), "optional_columns": ("x.y",)}
    for name, content in (
        ("a.jsonl", orjson.dumps(long) + b"\n" + orjson.dumps(short)),
        ("a.json", orjson.dumps([long, short])),
    ):
        path = put(tmp_path, name, content)
        files = replace(shard(path), **asked)
        found = list(reader_of(name.rpartition(".")[2])(files))
        assert [raw.value for raw in found] == [kept, short]
        assert [raw.size_bytes for raw in found] == [len(orjson.dumps(v)) for v in (long, short)]
        everything = list(
            reader_of(name.rpartition(".")[2])(replace(files, columns=(), optional_columns=()))
        )
        assert [raw.value for raw in everything] == [long, short]


def test_a_line_of_too_many_arrays_is_a_bad_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MAX_NESTED", 100)
    values = [
        {"text": "ok", "x": [[]] * 98},
        {"text": "ok", "x": [[]] * 99},
        {"text": "[{" * 500 + '"\\'},
    ]
    good, bad, text = read(put(tmp_path, "a.jsonl", jsonl(values)))
    assert (good.error, text.error) == (None, None)
    assert bad.error == "more than 100 arrays and objects"


def with_names(folder: Path, kind: str, names: Sequence[str], values: Sequence[str]) -> Path:
    """One record in a shard of a format that may name a field twice."""
    path = folder / f"a.{kind}"
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        path.write_text(f"{mark.join(names)}\n{mark.join(values)}\n")
    elif kind in ("jsonl", "json"):
        pairs = ", ".join(f'"{name}": "{v}"' for name, v in zip(names, values, strict=True))
        path.write_text(f"[{{{pairs}}}]" if kind == "json" else f"{{{pairs}}}\n")
    else:
        table = pa.Table.from_arrays([pa.array([value]) for value in values], names=list(names))
        pq.write_table(table, path) if kind == "parquet" else path.write_bytes(arrow(table))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "arrow"])
def test_a_name_that_is_asked_for_and_stands_there_twice_is_refused(
    tmp_path: Path, kind: str
) -> None:
    path = with_names(tmp_path, kind, ["text", "x", "x", "标题"], list("abcd"))
    for asked in ("text", "标题", "`text`"):
        (found,) = reader_of(kind)(replace(shard(path), columns=(asked,)))
        assert (found.value or {})[asked.strip("`")] in "ad"
    with pytest.raises(DataError, match=r"more than one (column|field) is named 'x'"):
        for found in reader_of(kind)(replace(shard(path), columns=("x",))):
            raise DataError(found.error)


def test_a_field_of_json_that_is_named_twice_is_found_however_it_is_spelled(tmp_path: Path) -> None:
    lines = (
        '{"标": "a", "\\u6807": "b"}',
        '{"a": "\\"标\\"", "标": {"标": "b", "n": 123456789012345678901234567890}}',
        '{"标" : "a", "b": ["标", {"标": 1}]}',
    )
    path = put(tmp_path, "a.jsonl", "\n".join(lines).encode())
    twice, *others = read(path, columns=("标",))
    assert twice.error == "more than one field is named '标'"
    assert [raw.error for raw in others] == [None, None]


@pytest.mark.parametrize(
    ("line", "twice"),
    [
        ('{"chat": [{"role": "user", "text": "a", "text": "b"}]}', "text"),
        ('{"chat": {"a": {"b": 1, "b": 1}}}', "b"),
        ('{"chat": {"a" : 1, "a"\t: 2}}', "a"),
        ('{"chat": {"a": "\\\\", "\\u0061": 2}}', "a"),
        ('{"chat": {"a\\\\": 1, "a\\\\": 2, "b": ": "}}', "a\\"),
        ('{"other": {"a": 1, "a": 2}, "chat": {"a": 1}}', None),
        ('{"chat": [{"a": ": b", "b": "\\"a\\": c"}, {"a": "\\\\\\":"}]}', None),
        ('{"chat": "{\\"a\\": 1, \\"a\\": 2}"}', None),
    ],
)
def test_a_name_twice_inside_a_field_that_is_read_is_refused(
    tmp_path: Path, line: str, twice: str | None
) -> None:
    for name, text in (("a.jsonl", line), ("a.json", f"[{line}]")):
        (found,) = read(put(tmp_path, name, text.encode()), columns=("chat",))
        assert found.error == (twice and f"more than one field is named {twice!r}")


ODD_NAMES = ["Question?", "text{en}", "...", "a.b", " ", "", "a`b", "Unnamed: 0", "{}", "中 文?"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "arrow"])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_field_of_any_name_is_read(tmp_path: Path, kind: str, name: str) -> None:
    path = with_names(tmp_path, kind, ["id", name], ["1", "a text"])
    written = write_path([name])
    for field in (written, f"{{{written}}}"):
        parsed = parse_field(field)
        columns = tuple(path.path for path in paths_of(parsed))
        (found,) = reader_of(kind)(replace(shard(path), columns=columns))
        assert parsed.text(found.value or {}) == "a text"


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (b'title;text\nt;"a; b"\n', {"delimiter": ";"}),
        (b"sep=;\ntitle;text\nt;a; b\n".replace(b"a; b", b'"a; b"'), {}),
        (b'"sep=|"\r\ntitle|text\r\nt|a; b\r\n', {}),
        (b"title\ttext\nt\ta; b\n", {"delimiter": "\t"}),
        (b'title,text\nt,"a\\; b"\n', {"escape": "\\"}),
        (b'title,text\nt,"a; ""b"""\n', {"escape": "\\"}),
        (b'title,text\nt,"a; \\"b\\""\n', {"escape": "\\"}),
    ],
)
def test_tables_of_other_dialects_are_read(
    tmp_path: Path, text: bytes, settings: dict[str, str]
) -> None:
    files = replace(shard(put(tmp_path, "a.csv", text)), **settings)  # type: ignore[arg-type]
    (found,) = reader_of("csv")(files)
    assert (found.value or {})["text"].replace('"', "") == "a; b"
    (named,) = list(reader_of("csv")(replace(files, names=("title", "text"))))[1:]
    assert named.value == found.value


def test_objects_one_after_another_are_read_as_those_of_an_array(tmp_path: Path) -> None:
    objects = [{"text": "a\n}{"}, {"text": "b", "more": [{"x": 1}]}, {"text": "c"}]
    pretty = b"\n".join(orjson.dumps(value, option=orjson.OPT_INDENT_2) for value in objects)
    for text in (pretty, pretty.replace(b"\n", b"") + b"\n"):
        records = read(put(tmp_path, "a.json", text))
        assert [raw.value for raw in records] == objects
        assert [raw.record for raw in records] == [0, 1, 2]
        assert read(tmp_path / "a.json", start=2) == records[2:]


def test_an_array_is_read_an_element_at_a_time(tmp_path: Path) -> None:
    """The first element is there before a fault 40 MB later is reached."""
    element = b'{"text": "' + b"a" * 1000 + b'"},'
    path = put(tmp_path, "a.json", b"[" + element * 40_000 + b"broken")
    records = reader_of("json")(shard(path))
    assert next(records).record == 0
    with pytest.raises(DataError, match="element 40000"):
        list(records)


def moses(folder: Path, english: bytes, chinese: bytes, start: int = 0) -> list[RawRecord]:
    paths = put(folder, "a.en", english), put(folder, "a.zh", chinese)
    return list(reader_of("moses")(shard(*paths, names=("en", "zh"), start=start)))


def test_line_aligned_files_give_pairs(tmp_path: Path) -> None:
    found = moses(tmp_path, b"one\r\n\ntwo\nthree\n", "一\n\n二\n三".encode())
    assert [(r.record, r.value) for r in found] == [
        (0, {"en": "one", "zh": "一"}),
        (2, {"en": "two", "zh": "二"}),
        (3, {"en": "three", "zh": "三"}),
    ]
    assert found[2:] == moses(tmp_path, b"one\n\ntwo\nthree\n", "一\n\n二\n三".encode(), start=3)


def test_an_unmatched_side_of_a_pair_is_a_bad_record(tmp_path: Path) -> None:
    good, bad, coded = moses(tmp_path, b"one\ntwo\nthree\n", "一\n \n".encode() + b"\xff\n")
    assert good.error is None
    assert bad.error == "unmatched pair: zh is empty"
    assert "zh: bad UTF-8" in (coded.error or "")


def test_unequal_line_counts_are_an_error_before_the_first_pair(tmp_path: Path) -> None:
    paths = put(tmp_path, "a.en", b"one\ntwo\n"), put(tmp_path, "a.zh", b"x\ny\nz\n")
    records = reader_of("moses")(shard(*paths, names=("en", "zh")))
    with pytest.raises(DataError, match=r"a\.en has 2, .*a\.zh has 3 lines"):
        next(records)


OBJECTS = [{"text": "一\n二"}, {"text": "镕 € 𠮷"}]
GB18030 = {
    "a.jsonl": "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in OBJECTS),
    "a.jsonl.gz": "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in OBJECTS),
    "a.json": json.dumps(OBJECTS, ensure_ascii=False),
    "a.csv": 'text\n"一\n二"\n镕 € 𠮷\n',
    "a.tmx": tmx([o["text"] for o in OBJECTS]).decode(),
}


@pytest.mark.parametrize("name", GB18030)
def test_formats_that_are_text_may_be_in_gb18030(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name, GB18030[name].encode("gb18030"))
    assert [raw.value for raw in read(path, encoding="gb18030")] == OBJECTS


def test_lines_and_columns_and_pairs_may_be_in_gb18030(tmp_path: Path) -> None:
    good, bad, after = "一\t二".encode("gb18030"), b"\xff\tb", "三\t四".encode("gb18030")
    lines = b"\n".join([good, bad, after])
    for name in ("a.txt", "a.tsv"):
        first, coded, last = read(
            put(tmp_path, name, lines), names=("text", "b"), encoding="gb18030"
        )
        assert first.value is not None and first.value["text"].startswith("一")
        assert last.value is not None and last.value["text"].startswith("三")
        assert coded.error == "not all of it is gb18030"
    header = put(tmp_path, "b.tsv", "文\t字\n一\t二\n".encode("gb18030"))
    assert read(header, encoding="gb18030")[0].value == {"文": "一", "字": "二"}
    paths = put(tmp_path, "a.en", b"one\n"), put(tmp_path, "a.zh", "一\n".encode("gb18030"))
    files = shard(*paths, names=("en", "zh"), encoding="gb18030")
    assert [raw.value for raw in reader_of("moses")(files)] == [{"en": "one", "zh": "一"}]


@pytest.mark.parametrize("encoding", ["big5", "utf-16", "utf-16-be", "shift_jis"])
def test_lines_are_those_of_the_text_not_of_the_bytes(tmp_path: Path, encoding: str) -> None:
    # U+0A00 to U+0AFF hold the byte of a line feed in UTF-16, and so does U+500A.
    chinese = "倊\n\u0a0a" if encoding.startswith("utf") else "中\n文"
    texts = {"en": "one\ntwo", "zh": chinese}
    paths = [put(tmp_path, f"a.{side}", t.encode(encoding)) for side, t in texts.items()]
    pairs = [
        dict(zip(texts, sides, strict=True))
        for sides in zip(*(text.split("\n") for text in texts.values()), strict=True)
    ]
    for start in (0, 1):
        files = shard(*paths, names=("en", "zh"), encoding=encoding, start=start)
        assert [raw.value for raw in reader_of("moses")(files)] == pairs[start:]
    found = read(put(tmp_path, "a.txt", chinese.encode(encoding)), encoding=encoding)
    assert [raw.value for raw in found] == [{"text": line} for line in chinese.split("\n")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl.zst", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.JSON.GZ", "json"),
        ("a.parquet", "parquet"),
        ("a.txt.xz", "txt"),
        ("a.tmx.bz2", "tmx"),
        ("a.arrow", "arrow"),
        ("wiki_00", None),
        ("a.bin.zst", None),
    ],
)
def test_the_name_of_a_file_tells_its_format(name: str, expected: str | None) -> None:
    assert format_of(Path(name)) == expected
