"""Files stay inside their folder and are written whole or not at all."""

import os
from pathlib import Path

import pytest

from linly import files
from linly.errors import ConfigError, LinlyError


@pytest.mark.parametrize(
    "relative", ["", ".", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a\0b", "//x"]
)
def test_a_path_that_is_not_plainly_inside_is_refused(tmp_path: Path, relative: str) -> None:
    with pytest.raises(ConfigError, match="found path"):
        files.inside(tmp_path, relative)


@pytest.mark.parametrize("relative", ["a", "a/b/c.jsonl", "..a", "a..b/c", "中文/文件"])
def test_a_plain_path_is_joined(tmp_path: Path, relative: str) -> None:
    assert files.inside(tmp_path, relative) == tmp_path / relative


def test_a_link_that_leads_out_is_refused_and_one_that_stays_in_is_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (root / "in").symlink_to(root / "real")
    (root / "out").symlink_to(tmp_path / "other")
    (root / "real" / "deep").symlink_to(tmp_path / "other")
    (root / "dangling").symlink_to("../other/missing")
    assert files.inside(root, "in/x") == root / "in" / "x"
    for name in ("out", "out/x", "real/deep/x", "in/deep", "dangling"):
        with pytest.raises(ConfigError, match="leads out"):
            files.inside(root, name)


def test_a_loop_of_links_is_a_config_error_or_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    try:
        assert files.inside(tmp_path, "a/x") == tmp_path / "a" / "x"
    except ConfigError as error:
        assert "cannot be followed" in str(error)


def test_a_root_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert files.inside(tmp_path / "link", "x") == tmp_path / "link" / "x"


def test_publish_replaces_the_content_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.publish(path, b"old")
    files.publish_text(path, "新\r\n")
    assert path.read_bytes() == "新\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_published_files_have_the_users_usual_permissions(tmp_path: Path) -> None:
    files.publish(tmp_path / "published", b"")
    (tmp_path / "plain").write_bytes(b"")
    modes = {p.stat().st_mode for p in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_publish_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "state.json"
    files.publish(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        files.publish(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_rename_comes_after_the_flush_and_before_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        calls.append("fsync folder" if os.path.isdir(f"/dev/fd/{descriptor}") else "fsync file")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        calls.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.publish(tmp_path / "x", b"data")
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * (1 << 20))
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert files.sha256_file(empty) == known
    assert len(files.sha256_file(path)) == 64
    assert files.sha256_file(path) != known


def test_reading_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert files.read_limited(path, limit_bytes=5) == b"12345"
    with pytest.raises(LinlyError, match="larger than the 4 bytes"):
        files.read_limited(path, limit_bytes=4)


def test_reading_a_pipe_is_refused_instead_of_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LinlyError, match="not a regular file"):
        files.read_limited(tmp_path / "pipe", limit_bytes=10)
