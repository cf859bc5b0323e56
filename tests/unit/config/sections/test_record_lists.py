"""`exclude_records` of a corpus file: its forms, paths and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.config.corpus import Corpus, make_corpus, with_pinned_lists
from linly.config.yaml.yaml import Located, Origin, parse_yaml
from linly.errors import ConfigError


def tree(written: str, folder: Path = Path("/c")) -> Located:
    head = "language: en\nkind: text\npaths: [a]\n"
    return parse_yaml(head + f"exclude_records: {written}\n", Origin("x.yaml", None, folder))


def corpus(written: str) -> Corpus:
    return make_corpus("x", tree(written))


@pytest.mark.parametrize(
    ("written", "paths"),
    [
        ("leaks.parquet", {"leaks": "/c/leaks.parquet"}),
        ("[../a.parquet, /b.parquet]", {"a": "/a.parquet", "b": "/b.parquet"}),
        ("{a: x/l.parquet, b: {path: y.p}}", {"a": "/c/x/l.parquet", "b": "/c/y.p"}),
    ],
)
def test_lists_are_named_and_relative_to_their_file(written: str, paths: dict[str, str]) -> None:
    found = corpus(written)
    assert {name: str(one.path) for name, one in found.exclude_records.items()} == paths
    again = make_corpus("x", parse_yaml(str(found.file_form()), Origin("y", None, Path("/d"))))
    assert again == found


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("3", "exclude_records: found 3, allowed: path of a record list, a list of such paths"),
        ("[]", "exclude_records: found an empty list, allowed"),
        ("[a/x.p, b/x.p]", "found two lists named 'x'; name them"),
        ("a.b.parquet", "found 'a.b', allowed: letters, digits"),
        ("{a: {path: x, key: 1}}", "exclude_records.a.key: unknown key 'key', allowed"),
        ("{a: {path: x, sha256: zz}}", "exclude_records.a.sha256: found 'zz'"),
        ("{a: 3}", "exclude_records.a: found 3"),
    ],
)
def test_other_forms_are_refused_with_the_allowed_ones(written: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        corpus(written)
    assert error in str(caught.value)


def test_hashes_are_filled_in_once(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"list")
    at = tree("a.parquet", tmp_path)
    pinned = with_pinned_lists(make_corpus("x", at), at)
    sha256 = pinned.exclude_records["a"].sha256
    assert sha256 is not None
    assert len(sha256) == 64
    (tmp_path / "a.parquet").write_bytes(b"another list")
    assert with_pinned_lists(pinned, at) == pinned
