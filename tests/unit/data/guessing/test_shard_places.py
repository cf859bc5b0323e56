"""linly.data.guessing.shard_places: data roots, names of corpora, patterns that cover files."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.data.guessing.shard_places import (
    below_data_root,
    covering_patterns,
    free_name,
    name_corpus,
    split_of,
)
from linly.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory `work`, beside a folder of data."""
    for name in ("work/own/a.txt", "data/books/train/a.txt", "data/books/train/b.txt",
                 "data/wiki/AA/c.txt", "data/wiki/AB/d.txt", "data/odd/x [1].txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("A line.\n")
    (tmp_path / "work/linked").symlink_to(tmp_path / "data/books")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    ("written", "data_root", "root", "patterns"),
    [
        (["own/*.txt", "own/a.txt"], None, "work", ["own/*.txt", "own/a.txt"]),
        (["own"], None, "work", ["own/**"]),
        (["none/*.txt"], None, "work", ["none/*.txt"]),
        (["../data/books/train/*.txt"], None, "data", ["books/train/*.txt"]),
        (["../data/books/train"], None, "data", ["books/train/**"]),
        (["../data/wiki/*/*.txt", "own/*.txt"], None, ".", ["data/wiki/*/*.txt", "work/own/*.txt"]),
        (["../data"], None, "data", ["**"]),
        (["linked/train/*.txt"], None, "data", ["books/train/*.txt"]),
        (["../data/odd/x [1].txt"], None, "data", ["odd/x [[]1].txt"]),
        (["wiki/*/*.txt"], "../data", "data", ["wiki/*/*.txt"]),
        (["wiki"], "../data", "data", ["wiki/**"]),
        (["none/*.txt"], "../data", "data", ["none/*.txt"]),
        (["../data/wiki/AA/c.txt"], "../data", "data", ["wiki/AA/c.txt"]),
        (["s3://a/b/*.txt", "own/*.txt"], None, "work", ["s3://a/b/*.txt", "own/*.txt"]),
    ],
)
def test_patterns_are_below_a_data_root(
    here: Path, written: list[str], data_root: str | None, root: str, patterns: list[str]
) -> None:
    found = below_data_root(written, None if data_root is None else Path(data_root))
    assert found.data_root.resolve() == (here / root).resolve()
    assert found.patterns == tuple(patterns)
    absolute = [w if "://" in w else str(here / "work" / w) for w in written]
    if data_root is None:
        assert below_data_root(absolute, None).patterns == tuple(patterns)


def test_a_given_data_root_must_hold_the_shards(here: Path) -> None:
    with pytest.raises(ConfigError, match=rf"outside the data root .* such as {here}[,/ ]"):
        below_data_root(["own/*.txt"], Path("../data"))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("slimpajama/train/chunk*/*.jsonl.zst", "slimpajama"),
        ("english/refinedweb/data/train-00000-of-00005.parquet", "refinedweb"),
        ("wiki_zh/*/wiki_*", "wiki_zh"),
        ("wiki_zh/AA/wiki_00", "wiki_zh"),
        ("my data/*.txt", "my-data"),
        ("data/*.jsonl", "data"),
        ("data/books-*.jsonl", "books"),
        ("data/train-*.jsonl", "data"),
        ("data/train/*.jsonl", "data"),
        ("news.jsonl", "news"),
        ("news_00.jsonl", "news"),
        ("**/*.txt", "corpus"),
        ("语料/*.txt", "语料"),
        ("s3://bucket/texts/*.txt", "texts"),
        ("https://host.org/a.txt", "a"),
        ("hub/datasets--org--set/snapshots/0123456789abcdef01/data/*", "org-set"),
        ("x" * 80 + "/*.txt", "x" * 64),
    ],
)
def test_a_corpus_is_named_after_its_folder(pattern: str, name: str) -> None:
    assert name_corpus(pattern) == name


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert free_name(["a", "b"], {"a"}) == "b"
    assert free_name(["a", "b"], {"a", "b", "a-2"}) == "a-3"
    assert free_name(["x" * 64], {"x" * 64}) == "x" * 62 + "-2"


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("books/train/a.txt", None),
        ("books/validation/a.txt", "validation"),
        ("books/a_dev.json", "validation"),
        ("data/validation/a.jsonl", "validation"),
        ("test/a.jsonl", "test"),
        ("data/train/a.jsonl", None),
        ("books/test-00000-of-00001.parquet", "test"),
        ("testaments/a.txt", None),
        ("latest.txt", None),
    ],
)
def test_a_path_tells_the_split(path: str, split: str | None) -> None:
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("files", "patterns"),
    [
        (["books/train/a.txt", "books/train/b.txt"], ["books/train/*.txt"]),
        (["wiki/AA/c.txt", "wiki/AB/d.txt"], ["wiki/**/*.txt"]),
        (["books/train/a.txt"], ["books/train/a.txt"]),
        (["odd/x [1].txt"], ["odd/x [[]1].txt"]),
        (["books/train/a.txt", "wiki/AA/c.txt"], ["books/train/a.txt", "wiki/AA/c.txt"]),
    ],
)
def test_a_pattern_covers_exactly_the_files(
    here: Path, files: list[str], patterns: list[str]
) -> None:
    assert covering_patterns(files, here / "data") == patterns
