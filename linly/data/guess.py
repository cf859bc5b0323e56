"""Guesses a corpus file from shards: their format and encoding, and what their records mean.

    shard --first bytes--> format, encoding --first records--> kind, fields, language

A guess is a beginning for whoever writes the corpus file, made from well-known names of fields
and from the script of the text; what the names do not tell is taken by the length of the text.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from posixpath import basename
from typing import Any

from linly.data.conversations import BESIDE
from linly.data.formats import format_of, read_records
from linly.data.reading.errors import errors_of
from linly.data.reading.first_look import check_is_data
from linly.data.shard_files import ShardFiles
from linly.data.tables import column_names
from linly.data.types import RawRecord
from linly.errors import DataError
from linly.storage.urls import Location
from linly.streams import UTF8, open_stream

NUM_RECORDS = 200
_HEAD_BYTES = 256 << 10
_GB18030 = "gb18030"
_COLUMNAR = ("parquet", "arrow")
_BINARY = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
_MARKS_OF_BYTES = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ARCHIVE = re.compile(
    r"\.(7z|br|lz|lz4|lzma|lzo|rar|snappy|sz|tar|tbz|tgz|txz|z|zip|zstd)(\.\w{2,3})?$", re.I
)
_PACKED = (
    (b"PK\x03\x04", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"7z\xbc\xaf", "7z"),
)
_ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|notice|citation|changelog|metadata|dataset_infos?)"
    r"([._-](zh|cn|en)[\w-]*)?(\.(md|txt|rst|cff|json|ya?ml))?",
    re.I,
)
"""Names of files that say something of shards."""

_HEADER_CELL = re.compile(r"[^\W\d][\w -]{0,31}")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]{0,31}", re.ASCII)

_MESSAGES = ("messages", "conversations", "conversation", "dialogue", "chat")
_TURN_KEYS = (("role", "content"), ("from", "value"), ("role", "text"), ("speaker", "text"))
_PAIR_KEYS = (("human", "assistant"), ("user", "assistant"), ("question", "answer"))
_ASKED = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("trans_instruction", "trans_output"),
    ("input", "target"),
    ("inputs", "targets"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("ask", "answer"),
    ("q", "a"),
)
_GIVEN = {"instruction": ("input", "context"), "trans_instruction": ("trans_input",)}
_TEXTS = ("text", "content", "段落.内容", "body", "article", "document", "raw_content", "正文")
_TITLES = ("title", "标题", "headline")
_LANGUAGE_NAMES = {
    "en": ("en", "english", "eng", "en_text", "en-us"),
    "zh": ("zh", "chinese", "zho", "cmn", "zh_text", "zh-cn", "cn"),
}
_MARKS = ("[|Human|]", "[|AI|]")
_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")),
)
_COMMON = ("id", "url", "label", "source", "问题", "回答", "答案", "内容", "文本", "中文", "英文")
_KNOWN_NAMES = frozenset(
    name
    for names in (*_ASKED, *_GIVEN.values(), _TEXTS, _TITLES, *_LANGUAGE_NAMES.values(), _COMMON)
    for name in names
)
_CHOICES = "answer_choices"
_MIN_SCRIPT_SHARE = 0.15
_MAX_SIDES_RATIO = 6
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Guess:
    """What a corpus file would say of some shards.

    Attributes:
        format: None when the shards' names tell it.
        encoding: None for UTF-8.
        columns: Of a table without a header.
        kind: What a record is.
        language: Its script's most common language; None for pairs, whose fields say it.
        fields: Role -> path or form.
    """

    format: str | None
    encoding: str | None
    columns: tuple[str, ...]
    kind: str
    language: str | None
    fields: Mapping[str, str]


def is_about(path: Location | str) -> bool:
    """Tell by its name if a file describes others (README, LICENSE, metadata)."""
    return _ABOUT.fullmatch(basename(str(path))) is not None


def guess_corpus(path: Location) -> Guess:
    """Look at one shard.

    Raises:
        DataError: It is damaged, packed in a way that is not read, or holds no record with text;
            names it.
    """
    try:
        with errors_of((path,), format_of(path) or "text"):
            return _guess_corpus(path)
    except DataError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def _guess_corpus(path: Location) -> Guess:
    check_is_data(path)
    head = _head(path)
    _refuse_packed(path, head)
    encoding = UTF8 if head.startswith(_BINARY) else _encoding(head)
    text = head if encoding == UTF8 else head.decode(encoding, "ignore").encode()
    found = guess_format(path, text)
    columns = _columns(found, text.decode(UTF8, "replace"))
    raws = _records(path, found, encoding, columns)
    records = [raw.value for raw in raws if raw.value]
    if not records:
        reason = next((f": record {raw.record}: {raw.error}" for raw in raws if raw.error), "")
        raise DataError(f"no record among its first {NUM_RECORDS} can be read as {found}{reason}")
    guess = guess_fields(records)
    if columns and guess.kind == "parallel":
        # Names that we gave ourselves: the languages serve better.
        languages = {column: role for role, column in guess.fields.items()}
        columns = tuple(languages.get(column, column) for column in columns)
        guess = replace(guess, fields={role: role for role in guess.fields})
    return replace(
        guess,
        format=None if format_of(path) == found else found,
        encoding=None if encoding == UTF8 else encoding,
        columns=columns,
    )


def _refuse_packed(path: Location, head: bytes) -> None:
    packed = [name for magic, name in _PACKED if head.startswith(magic)]
    packed += [suffix.lower() for suffix, _ in _ARCHIVE.findall(basename(str(path)))]
    if packed:
        raise DataError(
            f"{path}: found {packed[0]} data, allowed: plain files, or "
            f"compressed ones that are named .zst, .gz, .bz2 or .xz; unpack or rename it"
        )


def guess_format(path: Location, head: bytes) -> str:
    """Name the format of a shard: by its suffix, unless its first bytes say another.

    Args:
        path: Of the shard.
        head: Its first bytes, decompressed; of text, in UTF-8.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    named = format_of(path)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if named in (None, "json", "jsonl") and start[:1] in (b"[", b"{"):
        return "json" if start[:1] == b"[" else "jsonl"
    if named is not None:
        return named
    if start.startswith(b"<") and b"<tmx" in start:
        return "tmx"
    lines = head.splitlines()[:20]
    counts = {line.count(b"\t") for line in lines if line.strip()}
    return "tsv" if len(counts) == 1 and counts != {0} else "txt"


def guess_fields(records: Sequence[Mapping[str, Any]]) -> Guess:
    """Guess kind, fields and language from records.

    Raises:
        DataError: No field holds text.
    """
    for guess in (_conversation, _pairs, _instruction, _text):
        if found := guess(records):
            return found
    names = ", ".join(_typical(records)) or "none"
    raise DataError(f"no field of the records holds text; their fields: {names}")


def guess_language(texts: Iterator[str]) -> str:
    """Give the language that is most common in the text's script; en for Latin letters."""
    sample = "".join(islice(texts, NUM_RECORDS))[:100_000]
    num_letters = len(_LETTER.findall(sample))
    for language, letters in _SCRIPTS:
        if num_letters and len(letters.findall(sample)) / num_letters > _MIN_SCRIPT_SHARE:
            return language
    return "en"


def _head(path: Location) -> bytes:
    with open_stream(path) as stream:
        return stream.read(_HEAD_BYTES)


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS_OF_BYTES:
        if head.startswith(mark):
            return encoding
    lines = head[: head.rfind(b"\n") + 1] or head
    for encoding in (UTF8, _GB18030):
        if _is_text(lines, encoding):
            return encoding
    # A line here or there may be bad.
    found = lines.splitlines()
    if 2 * sum(_is_text(line, UTF8) for line in found) > len(found):
        return UTF8
    raise DataError(
        "its text is neither UTF-8 nor gb18030, nor marked as UTF-16: write its corpus file by "
        "hand, with its `encoding`"
    )


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        return "\0" not in data.decode(encoding)
    except UnicodeDecodeError:
        return False


def _columns(found: str, head: str) -> tuple[str, ...]:
    """Name the columns of a table whose first line looks like any other."""
    if found not in ("tsv", "csv"):
        return ()
    first = head.removeprefix("\ufeff").split("\n", 1)[0].rstrip("\r")
    try:
        cells = first.split("\t") if found == "tsv" else next(csv.reader([first]), [])
    except csv.Error:
        return ()  # reading says what is wrong
    names = [cell.strip() for cell in cells]
    is_known = any(name.lower() in _KNOWN_NAMES for name in names)
    cell = _HEADER_CELL if is_known else _IDENTIFIER
    if len(set(names)) == len(names) and all(map(cell.fullmatch, names)):
        return ()
    return tuple(f"column{number}" for number in range(1, len(cells) + 1))


def _records(
    path: Location, found: str, encoding: str, columns: tuple[str, ...]
) -> list[RawRecord]:
    wanted = tuple(column_names(path)) if found in _COLUMNAR else ()
    files = ShardFiles((path,), columns, wanted, (), 0, encoding)
    return list(islice(read_records(found, files), NUM_RECORDS))


def _typical(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All fields of some records, each with the first value that is not empty."""
    found: dict[str, Any] = {}
    for record in records:
        for name, value in record.items():
            if name not in found or found[name] in (None, "", [], {}):
                found[name] = value
    return found


def _conversation(records: Sequence[Mapping[str, Any]]) -> Guess | None:
    first = _typical(records)
    for name in sorted(first, key=lambda name: name not in _MESSAGES):
        turns = first[name]
        if isinstance(turns, list) and turns and isinstance(turns[0], dict):
            for role, content in _TURN_KEYS:
                if {role, content} <= set(turns[0]):
                    fields = {"messages": name, "role": role, "content": content, **_beside(first)}
                    return _guess("conversation", fields, records, f"{name}.{content}")
            for user, assistant in _PAIR_KEYS:
                if {user, assistant} <= set(turns[0]):
                    fields = {"messages": name, "user": user, "assistant": assistant}
                    return _guess("conversation", fields, records, f"{name}.{assistant}")
        if isinstance(turns, str) and all(mark in turns for mark in _MARKS):
            fields = {"text": name, "user_mark": _MARKS[0], "assistant_mark": _MARKS[1]}
            return _guess("conversation", fields, records, name)
    return None


def _beside(first: Mapping[str, Any]) -> dict[str, str]:
    """Name the fields of a record that belong to its conversation: a system text, tools."""
    found = {}
    for role, names in BESIDE.items():
        present = [name for name in names if first.get(name)]
        if present:
            found[role] = f"{present[0]}?"
    return found


def _pairs(records: Sequence[Mapping[str, Any]]) -> Guess | None:
    first = _typical(records)
    prefix, names = "", first
    if isinstance(first.get("translation"), dict):
        prefix, names = "translation.", first["translation"]
    fields = {
        language: prefix + name
        for name in names
        for language, known in _LANGUAGE_NAMES.items()
        if name.lower().replace("_", "-") in {k.replace("_", "-") for k in known}
    }
    if len(fields) != 2 and _may_be_sides(records, [prefix + name for name in names]):
        fields = {guess_language(_texts(records, prefix + name)): prefix + name for name in names}
    if len(fields) != 2:
        return None
    return Guess(None, None, (), "parallel", None, dict(sorted(fields.items(), reverse=True)))


def _may_be_sides(records: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> bool:
    """Tell whether two fields, and no more, hold texts of lengths as translations have."""
    sizes = sorted(sum(map(len, _texts(records, path))) for path in paths)
    return len(sizes) == 2 and 0 < sizes[1] <= _MAX_SIDES_RATIO * sizes[0]


def _instruction(records: Sequence[Mapping[str, Any]]) -> Guess | None:
    first = _typical(records)
    for asked, answer in _ASKED:
        if asked in first and answer in first:
            fields = {"instruction": asked, "output": answer}
            given = [name for name in _GIVEN.get(asked, ()) if name in first]
            if given:
                fields = {"instruction": asked, "input": f"{given[0]}?", "output": answer}
            if isinstance(first.get(_CHOICES), list):
                fields["choices"] = f"{_CHOICES}?"
            return _guess("instruction", fields, records, answer)
    return None


def _text(records: Sequence[Mapping[str, Any]]) -> Guess | None:
    first = _typical(records)
    known = [name for name in _TEXTS if any(map(str.strip, _texts(records, name)))]
    sizes = {
        name: sum(map(len, _texts(records, name))) for name, v in first.items() if type(v) is str
    }
    longest = max(sizes, key=lambda name: sizes[name], default=None)
    name = known[0] if known else longest
    if name is None:
        return None
    title = next((title for title in _TITLES if title in sizes and title != name), None)
    if title is None or _begins_with(records, name, title):
        return _guess("text", {"text": name}, records, name)
    return _guess("text", {"text": f"{{{title}?}}\n\n{{{name}}}"}, records, name)


def _begins_with(records: Sequence[Mapping[str, Any]], name: str, title: str) -> bool:
    begins = [str(r.get(name)).startswith(str(r[title])) for r in records if r.get(title)]
    return 2 * sum(begins) > len(begins)


def _guess(
    kind: str, fields: Mapping[str, str], records: Sequence[Mapping[str, Any]], path: str
) -> Guess:
    return Guess(None, None, (), kind, guess_language(_texts(records, path)), fields)


def _texts(records: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    """Give the texts at a dotted path, of every element of a list on the way."""
    for record in records:
        values: list[Any] = [record]
        for part in path.split("."):
            values = [v.get(part) for v in values if isinstance(v, Mapping)]
            values = [w for v in values for w in (v if isinstance(v, list) else [v])]
        yield from (value for value in values if isinstance(value, str))
