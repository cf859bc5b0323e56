"""Checks the first bytes of a shard's files against their names and their corpus file.

A failed download or copy often leaves a small text in place of a file: a Git LFS pointer, a
server's error page, data compressed once more. Read as text, these would be trained on.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

import orjson

from linly.config.shard_formats import FORMATS, FormatName
from linly.data.reading.library_errors import encrypted
from linly.data.reading.shard_files import ShardFiles
from linly.errors import DamagedShardError, DataError
from linly.storage.decompression import CODECS, Readable, compression
from linly.storage.urls import Location
from linly.streams import CHUNK_BYTES, UTF8, as_utf8, open_stream, read_heads

HEAD_BYTES = 64 << 10
LOOK_BYTES = 4 << 10
"""Bytes to check for everything except line ends; a JSON error of a server is shorter."""


_POINTERS = {
    "Git LFS": re.compile(r"\s*version https?://(git-lfs\.github|hawser\.github|git-media)\.\w+/"),
    "git-annex": re.compile(r"(\.\./)*(\.git)?/annex/objects/\S+"),
    "XetHub": re.compile(r"# xet version \d"),
}
_GET = {
    "Git LFS": "run `git lfs pull` where the files were cloned",
    "git-annex": "run `git annex get` where the files were cloned",
    "XetHub": "clone the files again with git-xet installed",
}

_PROLOG = r"\s*(?:<\?xml\b[^>]*\?>\s*|<!--.*?-->\s*)*"
_HTML = re.compile(_PROLOG + r"<(?:!doctype\s+html|html|head)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>\s*(.{1,80}?)\s*</title", re.IGNORECASE | re.DOTALL)
_XML_ANSWER = re.compile(
    _PROLOG + r"<(?:error\b[^>]*>\s*<(?:code|message)\b|(?:ListBucket|EnumerationResults|"
    r"ListAllMyBuckets)\w*\b)", re.IGNORECASE | re.DOTALL
)  # fmt: skip
_CODE = re.compile(r"<code>\s*(.{1,80}?)\s*</code", re.IGNORECASE | re.DOTALL)
_ANSWERS = frozenset(
    {
        "404: not found",
        "404 not found",
        "403 forbidden",
        "access denied",
        "bad gateway",
        "entry not found",
        "forbidden",
        "gateway timeout",
        "internal server error",
        "invalid username or password.",
        "not found",
        "repository not found",
        "service unavailable",
        "too many requests",
        "unauthorized",
    }
)
"""Error messages that hubs and servers send as plain text, in lower case."""

_ERROR_KEYS = frozenset({"error", "errors", "detail", "message", "msg"})
_OTHER_KEYS = frozenset(
    {"code", "details", "documentation_url", "documentationurl", "errorcode", "error_code",
     "error_description", "hostid", "path", "reason", "requestid", "request_id", "status",
     "statuscode", "status_code", "statusmessage", "success", "timestamp", "type", "url"}
)  # fmt: skip
"""Keys of the JSON object of a server's error, in lower case."""

_COMPRESSED = (
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),
    (re.compile(rb"\x1f\x8b\x08"), "gzip"),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), "bz2"),
    (re.compile(rb"\xfd7zXZ\0"), "xz"),
)
_OTHERS = (
    (re.compile(rb"\x04\x22\x4d\x18"), "lz4"),
    (re.compile(rb"PK(\x03\x04|\x05\x06)"), "zip"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "7z"),
    (re.compile(rb"Rar!\x1a\x07"), "rar"),
    (re.compile(rb".{257}ustar", re.DOTALL), "tar"),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"SQLite format 3\0"), "SQLite"),
    (re.compile(rb"PAR1"), "parquet"),
    (re.compile(rb"ARROW1\0\0"), "Arrow"),
)
_ENCRYPTED_PARQUET = b"PARE"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def check_first_bytes(name: FormatName, files: ShardFiles) -> None:
    """Reject files that cannot be a shard of this format, before it is read.

    Args:
        name: Name of the format.
        files: Files of the shard.

    Raises:
        DamagedShardError: If a file is a pointer or a server's response in place of the data, or
            its compression differs from its name.
        DataError: If a file is of another format or encoding, its lines end in carriage returns
            only, or it cannot be read.
    """
    for path in files.paths:
        stored, head = read_heads(path, HEAD_BYTES, files.retries)
        _check_is_data(path, (stored, head), files.columns)
        _check_compression(path, stored[:LOOK_BYTES])
        layout = FORMATS[name].layout
        if layout != "columnar":
            _check_text(path, name, head[:LOOK_BYTES], files.encoding)
            if layout == "lines":
                _check_line_ends(path, head, files)


def check_is_data(path: Location) -> None:
    """Reject a file that cannot be a shard of any format.

    Raises:
        DamagedShardError: If the file is a pointer or a server's response in place of the data.
        DataError: If it is encrypted or cannot be read.
    """
    _check_is_data(path, read_heads(path, HEAD_BYTES), ())


def _text_of(head: bytes) -> str:
    """Decode the first bytes of a possible text, without its byte order mark."""
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), UTF8)
    return head.decode(encoding, "replace").removeprefix("\ufeff")


def _check_is_data(path: Location, heads: tuple[bytes, bytes], wanted: Collection[str]) -> None:
    if heads[0].startswith(_ENCRYPTED_PARQUET):
        raise encrypted(path)
    for text in map(_text_of, dict.fromkeys(head[:LOOK_BYTES] for head in heads)):
        for system, form in _POINTERS.items():
            if form.match(text):
                raise DamagedShardError(
                    f"{path}: is a {system} pointer instead of the file itself; {_GET[system]}"
                )
        if found := _answer(text, wanted):
            raise DamagedShardError(
                f"{path}: is {found}, which a server sent in place of the file; check its address "
                f"and your access, and download it again"
            )


def _answer(text: str, wanted: Collection[str]) -> str | None:
    """Describe a server's response, or return None if the file is something else."""
    if _HTML.match(text):
        title = _TITLE.search(text)
        return f"an HTML page ({title[1]!r})" if title else "an HTML page"
    if _XML_ANSWER.match(text):
        code = _CODE.search(text)
        return f"an error of a storage server ({code[1]!r})" if code else "a storage server's list"
    whole = text.strip()
    if whole.lower() in _ANSWERS:
        return f"an error message ({whole!r})"
    if len(text) < LOOK_BYTES and whole.startswith("{"):
        try:
            value = orjson.loads(whole)
        except ValueError:
            return None
        if _is_error_object(value, wanted):
            return f"an error message ({whole[:80]!r})"
    return None


def _is_error_object(value: dict[str, Any], wanted: Collection[str]) -> bool:
    """Distinguish an error object from a record; an object with a requested field is a record."""
    keys = {key.lower() for key in value}
    named = keys & _ERROR_KEYS
    is_sure = bool(named & {"error", "errors", "detail"}) or bool(named and keys - named)
    is_record = any(path in value or path.split(".")[0] in value for path in wanted)
    return is_sure and keys <= _ERROR_KEYS | _OTHER_KEYS and not is_record


def _check_compression(path: Location, stored: bytes) -> None:
    """Reject a file whose bytes are not compressed as its name says."""
    codec = compression(path)
    found = _match(_COMPRESSED, stored)
    if codec is not None and found is not None and found != codec:
        raise DamagedShardError(
            f"{path}: is damaged or misnamed: it holds {found} data; rename it to "
            f"{_suffix(found)}, or download it again"
        )
    if codec is not None and found is None and stored and _is_plain_text(stored):
        raise DamagedShardError(
            f"{path}: is damaged or misnamed: it holds plain text, not {codec} data; remove "
            f"{_suffix(codec)} from its name, or download it again"
        )


def _check_text(path: Location, name: FormatName, head: bytes, encoding: str) -> None:
    if found := _match(_COMPRESSED, head):
        again = "once more " if compression(path) else ""
        raise DamagedShardError(
            f"{path}: holds {found} data: it was compressed {again}by a server or a copy "
            f"(Content-Encoding); add {_suffix(found)} to its name, or decompress it"
        )
    if found := _match(_OTHERS, head):
        raise DataError(f"{path}: found {found} data, expected {name}; correct `format` or `paths`")
    wide = _wide_encoding(head)
    is_told = encoding.startswith(("utf-16", "utf-32")) or FORMATS[name].declares_encoding
    if wide is not None and not is_told:
        raise DataError(
            f"{path}: its first bytes are {wide}, but `encoding` is {encoding}, for all "
            f"files of the corpus; set `encoding: {wide}`, or convert the file to UTF-8"
        )


def _wide_encoding(head: bytes) -> str | None:
    """Name a text encoding of two or four bytes per character: by its mark, or its NULs."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    enough = len(head) // 8
    for name, zeros, others in (
        ("utf-16-le", head[1::2], head[::2]),
        ("utf-16-be", head[::2], head[1::2]),
    ):
        if zeros.count(0) > enough and not others.count(0):
            return name
    return None


def _is_plain_text(stored: bytes) -> bool:
    text = stored[: stored.rfind(b"\n") + 1] or stored
    try:
        return "\0" not in text.decode(UTF8) and not text.startswith(b"BZh")
    except UnicodeDecodeError:
        return False


def _match(forms: Collection[tuple[re.Pattern[bytes], str]], head: bytes) -> str | None:
    return next((name for form, name in forms if form.match(head)), None)


def _suffix(codec: str) -> str:
    return next(suffix for suffix, name in CODECS.items() if name == codec)


def _check_line_ends(path: Location, head: bytes, files: ShardFiles) -> None:
    first, newline, rest = head.partition(b"\n")
    if files.encoding == UTF8 and newline and (rest.strip() or b"\r" not in first[:-1]):
        return
    with suppress(DamagedShardError), open_stream(path, files.retries) as stream:
        if _has_one_line_of_many(_chunks(as_utf8(stream, files.encoding))):
            raise DataError(
                f"{path}: its lines end in carriage returns only (the old Macintosh form), so that "
                f"all of it would be one line; convert it: tr '\\r' '\\n' < OLD > NEW"
            )


def _has_one_line_of_many(chunks: Iterator[bytes]) -> bool:
    """Check whether a text has one line by its newlines, but more by its carriage returns."""
    has_return = False
    held = b""  # a carriage return at the end of a chunk: a newline may follow
    for chunk in chunks:
        first, newline, rest = (held + chunk).partition(b"\n")
        has_return = has_return or b"\r" in first.rstrip(b"\r")
        if newline:
            return has_return and not rest.strip() and not any(map(bytes.strip, chunks))
        held = b"\r" if first.endswith(b"\r") else b""
    return has_return


def _chunks(stream: Readable) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
