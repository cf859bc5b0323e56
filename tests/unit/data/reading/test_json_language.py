"""Lines and arrays of JSON take the same language, that of RFC 8259; cases are by its sections."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from linly.data.reading import json_array
from linly.data.reading.formats import read_records
from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DamagedShardError

SPACE = b" \t\n\r"
ESCAPES = b'"\\/bfnrt'

TAKEN = {
    # 2. Grammar: white space around structural characters and values
    **{f"space {bytes([c])!r}": b"%c[%c1%c,%c{%c}%c]%c" % (c, c, c, c, c, c, c) for c in SPACE},
    # 3. Values
    "true": b"true",
    "false": b"false",
    "null": b"null",
    # 4. Objects
    "empty object": b"{}",
    "empty name": b'{"": 1}',
    "escaped name": b'{"\\u0061\\n": 1}',
    "objects nested": b'{"a": {"b": {}}}',
    # 5. Arrays
    "empty array": b"[]",
    "values of any type": b'[null, 1, "1", {}, [], true]',
    "deep": b"[" * 200 + b"]" * 200,
    # 6. Numbers
    **{
        f"number {sign}{whole}{fraction}{exponent}": (sign + whole + fraction + exponent).encode()
        for sign, whole, fraction, exponent in product(
            ("", "-"), ("0", "1", "120"), ("", ".0", ".015"), ("", "e1", "E+01", "e-22")
        )
    },
    "64 bits": b"[18446744073709551615, -9223372036854775808]",
    "over 64 bits": b"[18446744073709551616, -9223372036854775809, 1%s]" % (b"0" * 100),
    "many digits": b"0.%s" % (b"1" * 500),
    "too small": b"1e-999",
    # 7. Strings
    "empty string": b'""',
    **{f"escape {bytes([c])!r}": b'"\\%c"' % c for c in ESCAPES},
    "escapes of all case": b'"\\u00e9\\u00E9\\uABCD\\uabcd"',
    "escaped NUL and controls": b'"\\u0000\\u001f\\u007f"',
    "escaped pair of surrogates": b'"\\uD83D\\ude00"',
    "escaped noncharacters": b'"\\uFFFE\\uFFFF\\uFDD0\\uDBFF\\uDFFE"',
    "delete": b'"\x7f"',
    "two, three and four bytes": "é 老 😀".encode().join([b'"', b'"']),
    "noncharacters": "\ufffe\U0010ffff".encode().join([b'"', b'"']),
    "line separators": "\u2028\u2029\u0085".encode().join([b'"', b'"']),
    "a mark within": "\ufeff".encode().join([b'"', b'"']),
    "structure in a string": b'"}],[{:\\"]}"',
}

REFUSED = {
    # 2. Grammar: no other white space, no comments
    **{f"no space {c!r}": f"[1,{c}2]".encode() for c in ("\f", "\v", "\xa0", "\u2060", "\ufeff")},
    "comment": b"[1 /* one */]",
    "comment to the end of the line": b"[1 // one",
    "comment of another language": b"[1 # one",
    # 3. Values: lower case, nothing else
    **{word: word.encode() for word in ("True", "NULL", "nul", "tru", "nil", "truefalse")},
    **{word: word.encode() for word in ("NaN", "-NaN", "Infinity", "-Infinity", "Inf", "nan")},
    "nothing": b"",
    "two values": b"1 2",
    "single quotes": b"'one'",
    "a name as a value": b"one",
    # 4. Objects
    "object not closed": b'{"a": 1',
    "object closed by a bracket": b'{"a": 1]',
    "comma before a brace": b'{"a": 1,}',
    "comma after a brace": b'{, "a": 1}',
    "two commas in an object": b'{"a": 1,, "b": 2}',
    "no comma in an object": b'{"a": 1 "b": 2}',
    "no colon": b'{"a" 1}',
    "two colons": b'{"a":: 1}',
    "comma for a colon": b'{"a", 1}',
    "no value": b'{"a": }',
    "no name": b"{: 1}",
    "name without quotes": b"{a: 1}",
    "number as a name": b"{1: 1}",
    "null as a name": b"{null: 1}",
    # 5. Arrays
    "array not closed": b"[1",
    "array closed by a brace": b"[1}",
    "array closed twice": b"[1]]",
    "comma before a bracket": b"[1,]",
    "comma after a bracket": b"[,1]",
    "comma only": b"[,]",
    "two commas": b"[1,,2]",
    "no comma": b"[1 2]",
    "colon in an array": b"[1: 2]",
    "semicolon": b"[1; 2]",
    # 6. Numbers
    **{
        f"number {text}": text.encode()
        for text in (
            "01", "-01", "00", "+1", "++1", "-", "--1", "- 1", ".5", "-.5", "1.", "1.e5", "1e",
            "1e+", "1E-", "1e1.5", "1.2.3", "0x1F", "0b1", "0o7", "1_000", "1,000.0.0", "1e 5",
            "1a", "0e", "-e5", "e5", "\uff11", "1/2", "1%", "infinity", "0.1.e1",
        )
    },
    "number over a double": b"1e999",
    "number under a double": b"-1e999",
    "many digits before the point": b"1" * 5000,
    # 7. Strings
    **{f"control character {c}": b'"a%cb"' % c for c in range(0x20)},
    **{f"control character in a name {c}": b'{"a%cb": 1}' % c for c in (0, 9, 10, 13, 31)},
    **{f"escape {c}": b'"\\%c"' % ord(c) for c in "axUN0'e \t\n"},
    "escape of a character of more bytes": '"\\é"'.encode(),
    "escape of three digits": b'"\\u00e"',
    "escape of no digits": b'"\\u"',
    "escape of bad digits": b'"\\u00eg"',
    "escape in capitals": b'"\\U00e9"',
    "backslash at the end": b'"one\\"',
    "string not closed": b'"one',
    "string closed by another quote": b"\"one'",
    # 8.1 UTF-8
    "byte of no UTF-8": b'"\xff"',
    "first byte without its second": b'"\xc3"',
    "second byte without its first": b'"\xa9"',
    "overlong": b'"\xc0\xaf"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "encoded surrogate": b'"\xed\xa0\x80"',
    "bad UTF-8 in a name": b'{"\xff": 1}',
    # 8.2 Lone surrogates: allowed by the grammar, but not text
    "lone high surrogate": b'"\\ud83d"',
    "lone low surrogate": b'"\\ude00"',
    "surrogates turned around": b'"\\ude00\\ud83d"',
    "high surrogate before another escape": b'"\\ud83d\\n"',
    # 9. Limits
    "too deep": b"[" * 2000 + b"]" * 2000,
    "too deep and not closed": b"[" * 2000,
}  # fmt: skip


def records(folder: Path, name: str, data: bytes) -> list[RawRecord]:
    (folder / name).write_bytes(data)
    kind = name.rpartition(".")[2]
    return list(read_records(kind, ShardFiles((folder / name,), (), (), (), 0)))


def in_line(folder: Path, value: bytes) -> RawRecord:
    """The record of a value between two others in a file of lines."""
    first, found, last = records(folder, "a.jsonl", b'{"v": 1}\n{"v": %s}\n{"v": 2}\n' % value)
    assert (first.value, last.value) == ({"v": 1}, {"v": 2})
    return found


@pytest.mark.parametrize("chunk", [1, json_array.CHUNK_BYTES])
@pytest.mark.parametrize("name", TAKEN)
def test_what_rfc_8259_allows_is_taken_as_the_same_value_in_lines_and_arrays(
    tmp_path: Path, name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "CHUNK_BYTES", chunk)
    value = TAKEN[name]
    array = b'[{"v": 1},\n{"v": %s},\n{"v": 2}]' % value
    first, in_array, last = records(tmp_path, "a.json", array)
    assert (first.value, last.value) == ({"v": 1}, {"v": 2})
    assert in_array.error is None
    line = in_line(tmp_path, value.replace(b"\n", b" "))
    assert line.error is None
    assert line.value == in_array.value


@pytest.mark.parametrize("chunk", [1, json_array.CHUNK_BYTES])
@pytest.mark.parametrize("name", REFUSED)
def test_what_rfc_8259_does_not_allow_is_refused_in_lines_and_arrays(
    tmp_path: Path, name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an array it is a bad record, or damage where its end is not certain."""
    monkeypatch.setattr(json_array, "CHUNK_BYTES", chunk)
    value = REFUSED[name]
    if b"\n" not in value:
        assert (in_line(tmp_path, value).error or "").startswith(("not JSON", "nested deeper"))
    found: list[RawRecord] = []
    (tmp_path / "a.json").write_bytes(b'[{"v": 1},\n{"v": %s},\n{"v": 2}]' % value)
    try:
        for raw in read_records("json", ShardFiles((tmp_path / "a.json",), (), (), (), 0)):
            found.append(raw)
    except DamagedShardError:
        assert [raw.value for raw in found if raw.error is None] == [{"v": 1}]
    else:
        assert [raw.value for raw in found] == [{"v": 1}, None, {"v": 2}]
        assert (found[1].error or "").startswith(("not JSON", "nested deeper"))


STRUCTURES = {
    "comma at the end": (b'[{"v": 1},]', 1),
    "two commas": (b'[{"v": 1},,{"v": 2}]', 1),
    "comma first": (b'[,{"v": 1}]', 0),
    "no comma": (b'[{"v": 1} {"v": 2}]', 1),
    "colon": (b'[{"v": 1}: {"v": 2}]', 1),
    "closed by a brace": (b'[{"v": 1}}', 1),
    "not closed": (b'[{"v": 1}', 1),
    "not closed after a comma": (b'[{"v": 1},', 1),
    "closed twice": (b'[{"v": 1}]]', 1),
    "two arrays": (b'[{"v": 1}][{"v": 2}]', 1),
    "text after": (b'[{"v": 1}] end', 1),
    "NUL after": (b'[{"v": 1}]\0', 1),
    "form feed": (b'[{"v": 1}\f]', 1),
    "mark in the middle": (b'[{"v": 1},\xef\xbb\xbf{"v": 2}]', 1),
    "comment": (b'[{"v": 1} /* one */]', 1),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_break_between_elements_is_damage_after_those_before_it(
    tmp_path: Path, name: str
) -> None:
    data, num_good = STRUCTURES[name]
    (tmp_path / "a.json").write_bytes(data)
    found: list[RawRecord] = []
    with pytest.raises(DamagedShardError):
        for raw in read_records("json", ShardFiles((tmp_path / "a.json",), (), (), (), 0)):
            found.append(raw)
    assert [raw.value for raw in found] == [{"v": 1}][:num_good]
