"""linly.storage.encodings: what a file of text can be in, by one name each."""

from __future__ import annotations

import pytest

from linly.storage.encodings import text_encoding


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("UTF8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("GB18030", "gb18030"),
        ("cp936", "gbk"),
        ("euc_kr", "euc-kr"),
        ("latin-1", "iso8859-1"),
        ("UTF-16", "utf-16"),
    ],
)
def test_an_encoding_has_one_name(written: str, name: str) -> None:
    assert text_encoding(written) == name
    assert text_encoding(name) == name


@pytest.mark.parametrize("name", ["base64", "zlib", "rot13", "hex", "idna", "punycode"])
def test_what_is_no_encoding_of_a_files_text_is_refused(name: str) -> None:
    assert text_encoding(name) is None


@pytest.mark.parametrize("name", ["unicode_escape", "undefined", "utf8x", "", "a\0b", "中"])
def test_names_that_nothing_can_be_read_by_are_refused(name: str) -> None:
    assert text_encoding(name) is None
