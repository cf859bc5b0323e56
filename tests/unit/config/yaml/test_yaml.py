"""YAML is inert: the right value or a ConfigError with its line, never anything executed."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.yaml.yaml import MAX_BYTES, MAX_DEPTH, Origin, parse_yaml, read_yaml, write_yaml
from linly.errors import ConfigError

HERE = Origin("file.yaml", 1, Path("/folder"))


def plain(text: str) -> Any:
    return parse_yaml(text, HERE).plain()


def error(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, HERE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E+4", 1e4),
        ("5e3", 5000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.0", -0.0),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("2024-01-01", "2024-01-01"),
        ("70%", "70%"),
        ("5B", "5B"),
        ("=", "="),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
        ("'.nan'", ".nan"),
    ],
)
def test_scalars_follow_yaml_1_2_core(text: str, value: Any) -> None:
    found = plain(f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_an_empty_value_is_null_and_an_empty_document_too() -> None:
    assert plain("a:\nb: 1\n") == {"a": None, "b": 1}
    assert plain("") is None
    assert plain("# only a comment\n") is None


@pytest.mark.parametrize(
    "key", ["no", "yes", "on", "null", "1e-4", "12:30", "0%", "1", ".nan", "<<"]
)
def test_keys_are_their_text(key: str) -> None:
    assert plain(f"{key}: 1\n") == {key: 1}


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.inf", "+.Inf", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    message = error(f"a: 1\nb:\n  - 1\n  - {text}\n")
    assert message.startswith(f"file.yaml:4: b[1]: found {text}, allowed")


def test_absurdly_long_numbers_are_refused() -> None:
    assert error("a: " + "9" * 5000).startswith("file.yaml:1: a: found a number of 5000 characters")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "file.yaml:3: a: the key is written twice, first at file.yaml:1"),
        ("x: {a: 1, 'a': 2}\n", "file.yaml:1: x.a: the key is written twice"),
        ("a: &x 1\nb: *x\n", "file.yaml:1: a: found the anchor '&x'"),
        ("b: *x\n", "file.yaml:1: b: found the alias '*x'"),
        ("&k a: 1\n", "file.yaml:1: found the anchor '&k'"),
        ("a: !!python/object/apply:os.system ['true']\n", "file.yaml:1: a: found the tag"),
        ("a: !!str 1\n", "file.yaml:1: a: found the tag 'tag:yaml.org,2002:str'"),
        ("a: ! 1\n", "file.yaml:1: a: found the tag '!'"),
        ("a: !foo {}\n", "file.yaml:1: a: found the tag '!foo'"),
        ("%TAG ! tag:x.y,2000:\n---\na: 1\n", "file.yaml:1: found a directive"),
        ("%YAML 1.1\n---\na: 1\n", "file.yaml:1: found a directive"),
        ("a: 1\n---\nb: 2\n", "file.yaml:2: found a second document"),
        ("? [a]\n: 1\n", "file.yaml:1: found a key that is not plain text"),
        ('a: 1\n"": 1\n', "file.yaml:2: found an empty key"),
        ("a: 1\n\tb: 2\n", "file.yaml:2: not YAML: found character '\\t'"),
        ("a: [1, 2\n", "file.yaml:2: not YAML: "),
        ("a: 'x\n", "file.yaml:2: not YAML: "),
        ("a: 1\nb: @x\n", "file.yaml:2: not YAML: "),
        ("a: 1\nb: \x07\n", "file.yaml:2: not YAML: found character"),
        ("a: 1\nb: x\u2028y\n", "file.yaml:2: found U+2028"),
        ("a: 1\nb: x\x85c: 2\n", "file.yaml:2: found U+0085"),
        ('a: "\\ud800"\n', "file.yaml:1: a: found half a surrogate pair"),
        ('"\\udc00": 1\n', "file.yaml:1: found half a surrogate pair"),
        ('b: "\\U00010000"\na: "\\UFFFFFFFF"\n', "file.yaml:2: not YAML: found an escape past"),
        ('b: 1\n\na: "\\U00110000"\n', "file.yaml:3: not YAML: found an escape past"),
    ],
)
def test_what_strict_yaml_lacks_is_refused_with_its_line(text: str, message: str) -> None:
    assert error(text).startswith(message)


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert error(bomb).startswith("file.yaml:1: a: found the anchor '&a'")


@pytest.mark.parametrize("nest", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_quickly(nest: str) -> None:
    start = time.monotonic()
    assert "file.yaml:1" in error(nest * 100_000)
    assert time.monotonic() - start < 5


def test_nesting_up_to_the_limit_is_read() -> None:
    value = plain("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert value == []
    assert "nesting deeper" in error("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_every_value_knows_its_line() -> None:
    text = "a: 1\nb:\n  c: 2\n  d:\n    [3,\n     4]\n"
    text += "# comment\ne: {f: 5,\n    g: 6}\nh: >\n  x\n  y\ni: 7\n"
    tree = parse_yaml(text, HERE)
    lines = {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 4,
        ("b", "d", 0): 5,
        ("b", "d", 1): 6,
        ("e",): 8,
        ("e", "f"): 8,
        ("e", "g"): 9,
        ("h",): 10,
        ("i",): 13,
    }
    for path, line in lines.items():
        node = tree.get(*path)
        assert node is not None
        assert node.origin.line == line, path


def write(folder: Path, data: bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(data)
    return path


def test_line_ends_and_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    text = "a: 1\nb:\n- 中\n- x\n"
    expected = plain(text)
    for data in (
        text.encode(),
        text.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + text.encode(),
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    ):
        tree = read_yaml(write(tmp_path, data))
        assert tree.plain() == expected
        node = tree.get("b", 1)
        assert node is not None
        assert node.origin.line == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xff\xfe\n", ":2: not UTF-8: found byte 0xff"),
        ("a: 1".encode("utf-16"), ":1: not UTF-8"),
        (b"a: 1\n# " + b"x" * MAX_BYTES, "larger than the 1,048,576 bytes"),
    ],
)
def test_bytes_that_are_no_small_text_are_refused(
    tmp_path: Path, data: bytes, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(write(tmp_path, data))
    assert message in str(caught.value)


def test_missing_files_and_folders_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match=r"not a regular file|cannot be read"):
        read_yaml(tmp_path)


def test_files_are_shown_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    path = write(tmp_path / "a", b"x: .nan\n")
    with pytest.raises(ConfigError, match=r"^a/file\.yaml:1: x: found"):
        read_yaml(path)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "no",
        "1e-4",
        "12:30",
        "null",
        "~",
        "",
        ".nan",
        "a: b",
        "# x",
        "- x",
        "'",
        '"',
        "\u2028",
        "\x85",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
TREES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(TEXTS.filter(bool), below, max_size=4)
    ),
    max_leaves=20,
)


@given(TREES)
def test_what_is_written_reads_back_equal(value: Any) -> None:
    again = plain(write_yaml(value))
    assert again == value
    assert repr(again) == repr(value)


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_a_config_error(text: str) -> None:
    try:
        plain(text)
    except ConfigError as error:
        assert str(error).startswith("file.yaml:")


@given(st.text("ab:- \n{}[]&*!%#'\"?|>,0~\t", max_size=60))
def test_anything_of_yamls_own_characters_is_a_value_or_a_config_error(text: str) -> None:
    try:
        plain(text)
    except ConfigError as error:
        assert str(error).startswith("file.yaml:")
