"""Guesses a corpus file from shards: their format and encoding, and the meaning of their records.

    shard --first bytes--> format, encoding --first records--> kind, fields, language

A guess is a starting point for the author of the corpus file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from posixpath import basename
from typing import Any

from linly.config.fields import top_names, write_path
from linly.config.sections.languages import UNKNOWN_LANGUAGE
from linly.config.shard_formats import FORMATS, FormatName
from linly.data.guessing.guess_fields import NUM_RECORDS, guess_fields
from linly.data.guessing.known_names import is_about as is_about_record
from linly.data.guessing.known_names import is_wrapper
from linly.data.guessing.table_look import Table, look_at_table
from linly.data.reading.expansion import can_be_measured, plain_type
from linly.data.reading.first_look import check_is_data
from linly.data.reading.formats import format_of, read_records
from linly.data.reading.library_errors import errors_of
from linly.data.reading.shard_files import ShardFiles
from linly.data.reading.tables import schema_of
from linly.errors import DataError
from linly.storage.urls import Location
from linly.streams import UTF8, open_stream

_HEAD_BYTES = 256 << 10
_GB18030 = "gb18030"
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
    r"(readme|licen[cs]e|copying|notice|citation|changelog|manifest|metadata|dataset_infos?|"
    r"dataset_dict|state)"
    r"([._-](zh|cn|en)[\w-]*)?(\.(md|txt|rst|cff|json|ya?ml))?",
    re.I,
)
"""Names of files that describe shards."""

_RECORDS_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Guess:
    """Guessed content of a corpus file.

    Attributes:
        format: Format; None if the shards' names imply it.
        encoding: Encoding; None for UTF-8.
        columns: Column names of a table without a header.
        kind: Kind of the records.
        language: Language of the texts, `?` if it is not clear; None for pairs, whose fields name
            it.
        fields: Role -> path or form.
        record: First record, with all its fields.
        delimiter: Character between the cells of CSV.
        escape: Backslash if CSV uses it before quotation marks, else None.
    """

    format: str | None
    encoding: str | None
    columns: tuple[str, ...]
    kind: str
    language: str | None
    fields: Mapping[str, str]
    record: Mapping[str, Any]
    delimiter: str = ","
    escape: str | None = None


def is_about(path: Location | str) -> bool:
    """Check by its name whether a file describes others (README, LICENSE, metadata)."""
    return _ABOUT.fullmatch(basename(str(path))) is not None


def guess_corpus(path: Location) -> Guess | None:
    """Guess from one shard; None if it contains no record at all.

    Raises:
        DataError: If it is damaged, packed in an unsupported way, or contains no record with text;
            names it.
    """
    try:
        with errors_of((path,), format_of(path) or "text"):
            return _guess_corpus(path)
    except DataError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def _guess_corpus(path: Location) -> Guess | None:
    check_is_data(path)
    head = _head(path)
    _refuse_packed(path, head)
    encoding = UTF8 if head.startswith(_BINARY) else _encoding(head)
    text = head if encoding == UTF8 else head.decode(encoding, "ignore").encode()
    found = guess_format(path, text)
    table = None
    if FORMATS[found].has_columns:
        table = look_at_table(text.decode(UTF8, "replace"), is_quoted=found == "csv")
    columns: tuple[str, ...] = ()
    if table is not None and not table.has_header:
        columns = tuple(f"column{number}" for number in range(1, len(table.rows[0]) + 1))
    files = ShardFiles((path,), columns, _wanted(path, found, table), (), 0, encoding)
    if table is not None and found == "csv":
        files = replace(files, delimiter=table.delimiter, escape=table.escape)
    raws = list(islice(read_records(found, files), NUM_RECORDS))
    if not raws:
        return None
    if FORMATS[found].layout == "columnar" and not any(raw.value for raw in raws):
        # A column of bytes other than text, such as an image, would spoil every row.
        wanted = _wanted(path, found, None, with_bytes=False)
        raws = list(islice(read_records(found, replace(files, columns=wanted)), NUM_RECORDS))
    records = [_known(raw.value, files.columns) for raw in raws if raw.value]
    if not records:
        reason = next((f": record {raw.record}: {raw.error}" for raw in raws if raw.error), "")
        raise DataError(
            f"no record among its first {NUM_RECORDS} can be read as {found}{reason}"
            f"{_conversion(path, text)}"
        )
    if len(records) == 1 and found in ("json", "jsonl"):
        _refuse_wrapper(path, records[0])
    meaning = guess_fields(records)
    fields = meaning.fields
    if columns and meaning.kind == "parallel":
        # Generated column names: the languages serve better.
        languages = {name: role for role, name in fields.items() if role != UNKNOWN_LANGUAGE}
        columns = tuple(languages.get(column, column) for column in columns)
        fields = {role: languages.get(column, column) for role, column in fields.items()}
    return Guess(
        format=None if format_of(path) == found else found,
        encoding=None if encoding == UTF8 else encoding,
        columns=columns,
        kind=meaning.kind,
        language=meaning.language,
        fields=fields,
        record=records[0],
        delimiter=files.delimiter,
        escape=files.escape,
    )


def _wanted(
    path: Location, found: FormatName, table: Table | None, *, with_bytes: bool = True
) -> tuple[str, ...]:
    """Return the columns to read: those with a unique name."""
    names: Sequence[str] = ()
    if FORMATS[found].layout == "columnar":
        schema = schema_of(path)
        names = [
            name
            for name, kind in zip(schema.names, schema.types, strict=True)
            if can_be_measured(kind) and (with_bytes or plain_type(kind) == kind)
        ]
    elif table is not None and table.has_header and table.rows:
        names = table.rows[0]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    once = [name for name in names if name not in twice]
    if twice := [name for name in twice if not is_about_record(name)]:
        raise DataError(f"more than one column is named {twice[0]!r}; rename one of them")
    return tuple(write_path([name]) for name in once)


def _known(record: Mapping[str, Any], wanted: Sequence[str]) -> Mapping[str, Any]:
    """Return the fields of a record that may be requested."""
    if not wanted:
        return record
    names = {top_names(path)[0] for path in wanted}
    return {name: value for name, value in record.items() if name in names}


def _refuse_wrapper(path: Location, record: Mapping[str, Any]) -> None:
    """Reject a file that is one object around its records.

    Raises:
        DataError: If a field of the record contains a list of objects other than turns, or if all
            its fields are objects with equal keys; names the command to convert it.
    """
    lists = [n for n, value in record.items() if is_wrapper(n) and _is_list_of_objects(value)]
    within = None
    if lists and guess_fields([record]).kind != "conversation":
        name = max(lists, key=lambda name: len(record[name]))
        within = f".{name}[]" if _RECORDS_KEY.fullmatch(name) else f".[{json.dumps(name)}][]"
    values = list(record.values())
    if len(values) > 1 and all(
        isinstance(v, dict) and v.keys() == values[0].keys() for v in values
    ):
        within = ".[]"
    if within is not None:
        raise DataError(
            f"the file is one JSON object around its records; write one record per line: "
            f"jq -c '{within}' {basename(str(path))} > records.jsonl"
        )


def _conversion(path: Location, head: bytes) -> str:
    """Return the command to convert lines that are nearly JSON; "" if none is known."""
    name = basename(str(path))
    lines = [line.strip() for line in head.split(b"\n")[:20] if line.strip()]
    if all(line.endswith(b"},") for line in lines[:-1]) and lines[0].startswith(b"{"):
        return (
            f"; its lines end in commas, so write them without: sed 's/,$//' {name} > lines.jsonl"
        )
    if all(line.startswith(b"{'") for line in lines):
        return (
            "; its lines are Python's, so write them as JSON: python -c 'import ast, json, sys; "
            "[print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]' "
            f"< {name} > lines.jsonl"
        )
    return ""


def _is_list_of_objects(value: object) -> bool:
    is_list = isinstance(value, list) and len(value) > 1
    return is_list and all(isinstance(element, dict) for element in value)  # type: ignore[attr-defined]


def _refuse_packed(path: Location, head: bytes) -> None:
    packed = [name for magic, name in _PACKED if head.startswith(magic)]
    packed += [suffix.lower() for suffix, _ in _ARCHIVE.findall(basename(str(path)))]
    if packed:
        raise DataError(
            f"{path}: found {packed[0]} data, allowed: plain files, or "
            f"compressed ones that are named .zst, .gz, .bz2 or .xz; unpack or rename it"
        )


def guess_format(path: Location, head: bytes) -> FormatName:
    """Name the format of a shard: by its suffix, unless its first bytes contradict it.

    Args:
        path: Path of the shard.
        head: First bytes of the shard, decompressed; text is in UTF-8.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    named = format_of(path)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if named in (None, "json", "jsonl") and start[:1] in (b"[", b"{"):
        return "json" if start[:1] == b"[" or _is_pretty(start) else "jsonl"
    if named is not None:
        return named
    if start.startswith(b"<") and b"<tmx" in start:
        return "tmx"
    lines = head.splitlines()[:20]
    counts = {line.count(b"\t") for line in lines if line.strip()}
    return "tsv" if len(counts) == 1 and counts != {0} else "txt"


def _is_pretty(start: bytes) -> bool:
    """Check whether the first object extends over several lines."""
    first, *others = start.split(b"\n", 20)
    return bool(others) and not first.rstrip().endswith((b"}", b"},")) and not any(
        line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}") for line in others[:-1]
    )  # fmt: skip


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
    # A few lines may be invalid.
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
