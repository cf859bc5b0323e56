"""linly.storage.patterns and .local: what a pattern finds below a folder, and nothing swallowed."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from linly.errors import DataError
from linly.storage import local
from linly.storage.local import list_local_files
from linly.storage.patterns import Pattern
from linly.storage.retries import Retries

QUICK = Retries(attempts=3, delay_s=1e-4)
FILES = (
    "a.en", "[y].en", "^.en", "y.en", "b]", "-", "汉 字.en", ".hidden.en", "x\ny.en", "deep/a.en",
    "deep/er/a.en", "deep/er/b.zh", "deep/.er/c.en", "deep/er/.d.en", "a.d/a.en", "xy/z.en", "d*/e",
)  # fmt: skip
PATTERNS = (
    "*.en", "*", "**", "**/*.en", "**/**/*.en", "deep/**", "**/er/*", "*/*", "*/**/a.en",
    "a**n", "**a", "deep/*/*.en", ".*", "**/.*", "[.]*", "?hidden.en", "[^y].en", "[!y].en",
    "[z-a]", "[]-]", "b[]]", "[[]y].en", "[y.en", "?.en", "x?y.en", "[!a]*.en", "x[!a]y", "a.en",
    "./a.en", "deep//a.en", "./deep/./*.en", "none", "none/*", "a.en/*", "deep", "汉*", "d[*]/e",
    "d*/e",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def listed(root: Path, pattern: str) -> list[str]:
    return sorted(list_local_files(Pattern(pattern), root, QUICK))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_what_a_glob_finds_and_matches_it_by_name(root: Path, pattern: str) -> None:
    found = glob.iglob(pattern, root_dir=root, recursive=True)
    expected = sorted({Path(path).as_posix() for path in found if (root / path).is_file()})
    assert listed(root, pattern) == expected
    matched = [name for name in FILES if Pattern(pattern).match(name) is not None]
    assert sorted(matched) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "wildcards"),
    [
        ("un/*-[12].e?", "un/a-1.en", ("a", "1", "n")),
        ("**/x/**/*.en", "a/b/x/c.en", ("a/b/", "", "c")),
        ("a/**", "a/b/c", ("b/c",)),
        ("a**z", "abcz", ("bc",)),
        ("s3://bucket/*/x", "s3://bucket/a/x", ("a",)),
        ("s3://bucket/*/x", "s3://other/a/x", None),
        ("*/x", "s3://bucket/x", None),
        ("s3://bucket/a b*", "s3://bucket/a%20b", None),
        ("https://host.org/a b*/x[1]*", "https://HOST.org/a%20b%2A%2f/x%31%3F", ("*%2F", "1", "?")),
        ("https://host.org/%2a.*", "https://host.org/a.b", None),
        ("mo/[^y].en", "mo/z.en", None),
    ],
)
def test_what_wildcards_stand_for(
    pattern: str, path: str, wildcards: tuple[str, ...] | None
) -> None:
    assert Pattern(pattern).match(path) == wildcards


def test_links_are_followed_but_none_that_leads_back_to_where_it_lies(root: Path) -> None:
    once = set(listed(root, "**/*.en"))
    (root / "deep" / "loop").symlink_to(".")
    assert set(listed(root, "**/*.en")) == once
    (root / "deep" / "er" / "up").symlink_to(root)
    (root / "deep" / "er" / "again").symlink_to("../loop/er")
    (root / "nowhere").symlink_to("nowhere.else")
    (root / "round").symlink_to("round")
    assert set(listed(root, "**/*.en")) == once
    assert listed(root, "deep/*/er/*.en") == []
    assert listed(root, "deep/loop/er/*.en") == ["deep/loop/er/a.en"]  # by a name written out
    (root / "other").symlink_to("deep/er")
    (root / "deep" / "link.en").symlink_to("a.en")
    assert set(listed(root, "**/*.en")) == once | {"other/a.en", "deep/link.en"}


def test_folders_that_link_to_each_other_are_listed_to_an_end(root: Path) -> None:
    for one, other in (("deep", "xy"), ("xy", "deep")):
        (root / one / "other").symlink_to(root / other)
        (root / one / "self").symlink_to(".")
    assert listed(root, "**/z.en") == ["deep/other/z.en", "xy/z.en"]


def failing(
    monkeypatch: pytest.MonkeyPatch, function: str, name: str, error: int, times: int
) -> list[str]:
    """Have a call of `os` fail so often where the path ends so; gives the paths it failed on."""
    failed: list[str] = []
    call: Callable[..., object] = getattr(os, function)

    def stumble(path: str, *arguments: object) -> object:
        if os.fspath(path).endswith(name) and len(failed) < times:
            failed.append(path)
            raise OSError(error, os.strerror(error), path)
        return call(path, *arguments)

    monkeypatch.setattr(local.os, function, stumble)
    return failed


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize(("function", "name"), [("scandir", "deep/er"), ("lstat", "er/b.zh")])
def test_a_folder_whose_server_is_away_for_a_while_is_listed_all_the_same(
    root: Path, function: str, name: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing(monkeypatch, function, name, error, QUICK.attempts - 1)
    assert "deep/er/b.zh" in listed(root, "**/*.zh")
    assert len(failed) == QUICK.attempts - 1


@pytest.mark.parametrize(
    ("error", "message"),
    [(errno.EIO, "gave up after 3 attempts"), (errno.EACCES, "Permission denied")],
)
@pytest.mark.parametrize("pattern", ["**/*.en", "deep/*/*.zh", "deep/er/*"])
def test_a_folder_that_cannot_be_listed_is_an_error_that_names_it(
    root: Path, pattern: str, error: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "scandir", "deep/er", error, 100)
    with pytest.raises(DataError, match=rf"deep/er: cannot be listed: .*{message}"):
        listed(root, pattern)


def test_a_file_that_cannot_be_looked_at_is_an_error_that_names_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "lstat", "er/b.zh", errno.EACCES, 100)
    with pytest.raises(DataError, match=r"deep/er/b\.zh: cannot be found: PermissionError"):
        listed(root, "**/*.zh")
