"""linly.data.guessing.guess: format, encoding, kind, fields and language from shards."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.fields import top_names
from linly.data.guessing import guess
from linly.data.guessing.guess import Guess, guess_format, is_about
from linly.data.guessing.guess_fields import guess_fields
from linly.data.reading.records import parse_field, paths_of
from linly.errors import DataError

ENGLISH = ("The river runs to the sea past many old towns.", "The hill is green in spring.")
CHINESE = ("这家酒店的房间很干净，服务也很好。", "送来的菜是凉的，不会再来了。")


@pytest.mark.parametrize(
    ("record", "kind", "fields"),
    [
        ({"text": "A page."}, "text", {"text": "text"}),
        ({"id": "53", "url": "http://a.b/long/address", "title": "数学", "text": "数学\n\n数学是"},
         "text", {"text": "text"}),
        ({"title": "标题", "desc": "短", "content": "正文"}, "text",
         {"text": "{title?}\n\n{content}"}),
        ({"文件名": "a", "段落": [{"行号": 0, "内容": "第一段"}]}, "text",
         {"text": "段落.内容"}),
        ({"id": "x", "paragraph": "Слова и ещё слова."}, "text", {"text": "paragraph"}),
        ({"text": "これは日本語の文章です。"}, "text", {"text": "text"}),
        ({"text": "한국어 문장"}, "text", {"text": "text"}),
        ({"english": "One.", "chinese": "一。"}, "parallel",
         {"zh": "chinese", "en": "english"}),
        ({"zh_text": "一。", "en_text": "One."}, "parallel",
         {"zh": "zh_text", "en": "en_text"}),
        ({"translation": {"en": "One.", "zh": "一。"}}, "parallel",
         {"zh": "translation.zh", "en": "translation.en"}),
        ({"a": ENGLISH[0], "b": CHINESE[0]}, "parallel", {"zh": "b", "en": "a"}),
        ({"instruction": "问", "input": "", "output": "答"}, "instruction",
         {"instruction": "instruction", "input": "input?", "output": "output"}),
        ({"kind": "x", "input": "问", "target": "答"}, "instruction",
         {"instruction": "input", "output": "target"}),
        ({"inputs": "Q", "targets": "An answer", "task": "t"}, "instruction",
         {"instruction": "inputs", "output": "targets"}),
        ({"messages": [{"content": "Hi", "role": "user"}]}, "conversation",
         {"messages": "messages", "role": "role", "content": "content"}),
        ({"id": "1", "conversations": [{"from": "human", "value": "你好"}]}, "conversation",
         {"messages": "conversations", "role": "from", "content": "value"}),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}]}, "conversation",
         {"messages": "conversation", "user": "human", "assistant": "assistant"}),
        ({"topic": "t", "input": "x\n[|Human|] Hi\n[|AI|] Hello"}, "conversation",
         {"text": "input", "user_mark": "[|Human|]", "assistant_mark": "[|AI|]"}),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello"}, "conversation",
         {"text": "chosen", "user_mark": "\n\nHuman:", "assistant_mark": "\n\nAssistant:"}),
        ({"id": "1", "data": ["Hi", "Hello"]}, "conversation", {"messages": "data"}),
        ({"conversations": ["你好", "你好！"], "source": "x"}, "conversation",
         {"messages": "conversations"}),
        ({"conversations": '[{"from": "human", "value": "Hi"}]'}, "conversation",
         {"messages": "conversations", "role": "from", "content": "value"}),
        ({"messages": {"role": ["user"], "content": ["Hi"]}}, "conversation",
         {"messages": "messages", "role": "role", "content": "content"}),
        ({"system": "Be kind.", "conversations": [{"from": "human", "value": "Hi"}]},
         "conversation",
         {"messages": "conversations", "role": "from", "content": "value", "system": "system?"}),
        ({"input": "Where?", "output": "There."}, "instruction",
         {"instruction": "input", "output": "output"}),
        ({"query": "Where?", "response": "There."}, "instruction",
         {"instruction": "query", "output": "response"}),
        ({"Question": "Where?", "Answer": "There."}, "instruction",
         {"instruction": "Question", "output": "Answer"}),
        ({"问": "哪里？", "答": "那里。", "来源": "书"}, "instruction",
         {"instruction": "问", "output": "答"}),
        ({"question": "Where?", "answers": ["There.", "Here."]}, "instruction",
         {"instruction": "question", "output": "answers.0"}),
        ({"title": "T", "context": "A long text.", "question": "Where?",
          "answers": {"text": ["There."], "answer_start": [3]}}, "instruction",
         {"instruction": "question", "input": "context?", "output": "answers.text.0"}),
        ({"system_prompt": "Be kind.", "question": "Where?", "response": "There."},
         "instruction",
         {"instruction": "{system_prompt?}\n\n{question}", "output": "response"}),
        ({"instruction": "Who?", "context": "A text.", "response": "He.", "category": "qa"},
         "instruction",
         {"instruction": "instruction", "input": "context?", "output": "response"}),
        ({"qid": "q", "title": "为什么？", "desc": "细节", "answer": "因为。"}, "instruction",
         {"instruction": "title", "input": "desc?", "output": "answer"}),
        ({"translation": {"de": "Der Fluss.", "en": "The river."}}, "parallel",
         {"en": "translation.en", "de": "translation.de"}),
        ({"id": 1, "src": ENGLISH[0], "tgt": CHINESE[0]}, "parallel",
         {"zh": "tgt", "en": "src"}),
        ({"text (en)": "One.", "text (zh)": "一。"}, "parallel",
         {"zh": "text (zh)", "en": "text (en)"}),
        ({"id": 1, "paragraphs": ["One.", "Two."]}, "text", {"text": "paragraphs"}),
        ({"doc": {"url": "http://a.b", "body": {"text": "A page."}}}, "text",
         {"text": "doc.body.text"}),
        ({"url": "http://a.b/much/longer/than/its/text", "summary": "A page."}, "text",
         {"text": "summary"}),
        ({"id": 0, "Question?": "Where?"}, "text", {"text": "`Question?`"}),
        ({"id": 0, "text{en}": "Where?"}, "text", {"text": "`text{en}`"}),
        ({"id": 0, "": "Where?"}, "text", {"text": "``"}),
        ({"id": 0, "...": "Where?"}, "text", {"text": "`...`"}),
        ({"id": 0, "a.b": "Where?"}, "text", {"text": "`a.b`"}),
        ({"id": 0, " ": "Where?"}, "text", {"text": "` `"}),
        ({"title": "A", "x: y": "Where?"}, "text", {"text": "{title?}\n\n{`x: y`}"}),
    ],
)  # fmt: skip
def test_the_names_of_fields_tell_what_a_record_is(
    record: dict[str, Any], kind: str, fields: dict[str, str]
) -> None:
    found = guess_fields([record])
    assert (found.kind, found.fields) == (kind, fields)


def test_records_without_text_are_an_error() -> None:
    with pytest.raises(DataError, match=r"no field of the records contains text; .* a, b"):
        guess_fields([{"a": 1, "b": None}])


def test_a_field_that_is_empty_in_the_first_record_is_found_in_the_next() -> None:
    turns = {"messages": [{"role": "user", "content": "Hi"}]}
    assert guess_fields([{"messages": []}, turns]).kind == "conversation"
    assert guess_fields([{"text": None, "content": "正文"}]).fields == {"text": "content"}
    asked = {"input": "问", "target": "答"}
    several = [asked, asked | {"answer_choices": ["答"]}]
    assert guess_fields(several).fields["choices"] == "answer_choices?"


HEADERS = [
    "text,0", ",text", ",title,text", "Unnamed: 0,text", "index,text", "no.,text", "#,text",
    "id,text (en)", "id,Text[0]", "id,text1", "1st text,label", "序号,正文", "情感,评论",
    "label,评论",
    "词条,解释（中文）", "review text,stars", "date,headline text", "comment_text,toxic",
    "a b,text",
    ",0", "ID,Review Text (clean)", "编号,内容 2", "sentence", "文本",
]  # fmt: skip
NUMBERED = ("0", "", "Unnamed: 0", "index", "no.", "#", "id", "ID", "序号", "情感", "label", "编号",
            "stars", "toxic", "date")  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_of_any_kind_is_no_record(tmp_path: Path, header: str, kind: str) -> None:
    names = header.split(",")
    texts = CHINESE if re.search("[\u4e00-\u9fff]", header) else ENGLISH
    numbered = [name in NUMBERED and not (header == ",0" and name == "0") for name in names]
    rows = [names] + [
        [str(k) if is_number else f'"{t}"' if kind == "csv" else t for is_number in numbered]
        for k, t in enumerate(texts)
    ]
    mark = "," if kind == "csv" else "\t"
    table = "".join(mark.join(row) + "\n" for row in rows)
    if mark not in table.split("\n")[0] and kind == "tsv":
        pytest.skip("a line without a tab is not TSV")
    found = guess_corpus(put(tmp_path, f"a.{kind}", table.encode()))
    assert found.columns == ()
    path = parse_field(next(iter(found.fields.values())))
    assert {top_names(p.path)[0] for p in paths_of(path)} <= set(names) - {
        name for name, is_number in zip(names, numbered, strict=True) if is_number
    } or found.kind == "instruction"


@pytest.mark.parametrize(
    "table",
    [
        "positive,good movie\nnegative,a bad movie that goes on and on\npositive,fine\n",
        "1,Great product\n5,I bought it in spring and it has been with me all year\n",
        "The river runs.,The hill is green.\nThe lake is deep.,It is cold.\n",
        "text,go\nnews,stay where you are until the evening comes\ntext,go on\n",
    ],
)
def test_a_first_record_is_no_header(tmp_path: Path, table: str) -> None:
    found = guess_corpus(put(tmp_path, "a.csv", table.encode()))
    assert found.columns == ("column1", "column2")


def test_tables_that_were_joined_have_a_header(tmp_path: Path) -> None:
    table = "words here,label\nThe river runs,1\nwords here,label\nThe hill is green,0\n"
    assert guess_corpus(put(tmp_path, "a.csv", table.encode())).columns == ()


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (b'{"text": "one"},\n{"text": "two"},\n', "sed 's/,$//' a.jsonl > lines.jsonl"),
        (b"{'text': 'one', 'ok': True}\n{'text': 'two', 'ok': None}\n", "ast.literal_eval"),
    ],
)
def test_lines_that_are_nearly_json_come_with_their_conversion(
    tmp_path: Path, data: bytes, command: str
) -> None:
    with pytest.raises(DataError, match=re.escape(command)):
        guess_corpus(put(tmp_path, "a.jsonl", data))


@pytest.mark.parametrize(
    ("table", "delimiter", "escape"),
    [
        ("title;text\nt;The river, the sea.\nu;The hill.\n", ";", None),
        ("title|text\nt|The river; the sea, too.\nu|The hill.\n", "|", None),
        ("title\ttext\nt\tThe river, the sea.\nu\tThe hill.\n", "\t", None),
        ("sep=;\ntitle;text\nt;The river.\nu;The hill.\n", ",", None),
        ('title,text\nt,"He said \\"yes\\", and left."\nu,"She said \\"no\\"."\n', ",", "\\"),
        ('title,text\nt,"He said ""yes"", and left."\nu,She left.\n', ",", None),
        ('text\n"The path C:\\"\n"The hill; the lake"\n', ",", None),
    ],
)
def test_the_first_rows_tell_the_dialect(
    tmp_path: Path, table: str, delimiter: str, escape: str | None
) -> None:
    found = guess_corpus(put(tmp_path, "a.csv", table.encode()))
    assert (found.delimiter, found.escape) == (delimiter, escape)
    assert (found.columns, found.fields["text"].endswith(("text", "{text}"))) == ((), True)


@pytest.mark.parametrize(
    ("value", "within"),
    [
        ({"version": "1", "data": [{"text": "A page."}, {"text": "Two."}]}, ".data[]"),
        ({"my rows": [{"text": "A page."}, {"text": "Two."}]}, '.["my rows"][]'),
        ({"train": [{"q": "Who?", "a": "He."}] * 3, "info": {"x": 1}}, ".train[]"),
        ({"a1": {"text": "A page."}, "a2": {"text": "Two."}}, ".[]"),
        ({"data": [{"title": "River", "paragraphs": [{"context": "A page."}]}] * 2}, ".data[]"),
    ],
)
@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2])
def test_an_object_around_the_records_is_an_error_that_says_how_to_convert(
    tmp_path: Path, value: object, within: str, option: int
) -> None:
    with pytest.raises(DataError, match=re.escape(f"jq -c '{within}' a.json > records.jsonl")):
        guess_corpus(put(tmp_path, "a.json", orjson.dumps(value, option=option)))


def test_one_document_with_its_parts_is_no_wrapper(tmp_path: Path) -> None:
    value = {
        "文件名": "a.txt",
        "段落": [{"行号": 0, "内容": "第一段。"}, {"行号": 1, "内容": "第二段。"}],
    }
    for name in ("a.json", "a.jsonl"):
        assert guess_corpus(put(tmp_path, name, orjson.dumps(value))).fields == {
            "text": "段落.内容"
        }


def test_objects_over_several_lines_are_read(tmp_path: Path) -> None:
    value = orjson.dumps({"title": "T", "text": "A page."}, option=orjson.OPT_INDENT_2)
    for data in (value, value + b"\n" + value, value.replace(b"\n", b"\r\n")):
        assert guess_corpus(put(tmp_path, "a.json", data)).format is None
        assert guess_corpus(put(tmp_path, "a.jsonl", data)).format == "json"


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_columns_of_one_name_are_an_error_that_names_them(tmp_path: Path, kind: str) -> None:
    for names in (["text", "text"], ["id", "text", "text"]):
        path = tmp_path / f"a.{kind}"
        if kind == "parquet":
            columns = [pa.array([f"A page {name}."]) for name in names]
            pq.write_table(pa.Table.from_arrays(columns, names=names), path)
        else:
            mark = "," if kind == "csv" else "\t"
            path.write_text("".join(mark.join(row) + "\n" for row in (names, ["x"] * len(names))))
        with pytest.raises(DataError, match="more than one column is named 'text'; rename one"):
            guess_corpus(path)


def test_text_in_a_column_of_bytes_is_found_and_an_image_is_not(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"A page."]}), tmp_path / "a.parquet")
    assert guess_corpus(tmp_path / "a.parquet").fields == {"text": "text"}
    pq.write_table(pa.table({"image": [b"\xff\xd8"], "page": ["A page."]}), tmp_path / "a.parquet")
    assert guess_corpus(tmp_path / "a.parquet").fields == {"text": "page"}


def test_a_shard_of_no_record_has_no_guess(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert guess.guess_corpus(tmp_path / "a.parquet") is None
    assert guess.guess_corpus(put(tmp_path, "a.csv", b"title,text\n")) is None
    assert guess.guess_corpus(put(tmp_path, "a.json", b"[]")) is None


@pytest.mark.parametrize(
    ("name", "first", "columns"),
    [
        ("a.csv", '"你好,世界","hello, world"', ("zh", "column2")),
        ("a.tsv", "hello there\t你好", ("column1", "zh")),
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
    found = guess_corpus(put(tmp_path, "a.jsonl", '{"text": "汉字"}\n'.encode(encoding)))
    assert (found.encoding, found.format, found.language) == (encoding, None, "zh")
    table = put(tmp_path, "a.csv", "text\n汉字\n".encode(encoding))
    assert guess_corpus(table).fields == {"text": "text"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("README.md", True),
        ("d/LICENSE", True),
        ("dataset_info.json", True),
        ("notice.jsonl", False),
        ("d/state.json", True),
        ("dataset_dict.json", True),
        ("state.jsonl", False),
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


def guess_corpus(path: Path) -> Guess:
    found = guess.guess_corpus(path)
    assert found is not None
    return found


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_a_name_that_misleads_is_corrected(tmp_path: Path) -> None:
    lines = orjson.dumps({"text": "A page."}) + b"\n"
    assert guess_corpus(put(tmp_path, "a.json", lines * 3)).format == "jsonl"
    assert guess_corpus(put(tmp_path, "a.jsonl.gz", gzip.compress(lines))).format is None


def test_gb18030_is_found(tmp_path: Path) -> None:
    data = "标题,正文\n问题,回答\n".encode("gb18030")
    found = guess_corpus(put(tmp_path, "a.csv", data))
    assert (found.encoding, found.columns, found.language) == ("gb18030", (), "zh")
    assert guess_corpus(put(tmp_path, "a.txt", "汉字\n".encode())).encoding is None


def test_columns_without_a_header_are_named_by_their_languages(tmp_path: Path) -> None:
    data = f"{ENGLISH[0]}\t{CHINESE[0]}\n{ENGLISH[1]}\t{CHINESE[1]}\n".encode()
    found = guess_corpus(put(tmp_path, "a.tsv", data))
    assert (found.kind, found.columns) == ("parallel", ("en", "zh"))
    assert found.fields == {"zh": "zh", "en": "en"}


def test_columnar_and_translation_files_are_looked_into(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["x"], "content": ["A page."]}), tmp_path / "a.parquet")
    assert guess_corpus(tmp_path / "a.parquet").fields == {"text": "content"}
    tmx = '<tmx><body><tu><tuv xml:lang="en"><seg>One.</seg></tuv><tuv xml:lang="zh-CN"><seg>一。'
    tmx += "</seg></tuv></tu></body></tmx>"
    found = guess_corpus(put(tmp_path, "a.tmx", tmx.encode()))
    assert (found.kind, found.fields) == ("parallel", {"zh": "zh-CN", "en": "en"})


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
