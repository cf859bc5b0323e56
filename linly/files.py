"""Paths that stay inside their folder, and files that are written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from linly.errors import ConfigError, LinlyError

_HASH_CHUNK_BYTES = 1 << 20


def inside(root: Path, relative: str) -> Path:
    """Join a path from a file or a user to the folder it must stay in.

    The target need not exist. Links are followed as far as the path exists.

    Args:
        root: Folder.
        relative: Path below it, with forward slashes.

    Raises:
        ConfigError: If the path is empty, absolute, contains `..` or NUL, or a link leads out.
    """
    if not relative or "\0" in relative:
        raise ConfigError(f"found path {relative!r}: allowed: a path inside {root} without NUL")
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if relative.startswith("/") or ".." in parts or not parts:
        raise ConfigError(
            f"found path {relative!r}: allowed: a path inside {root}, not absolute and without '..'"
        )
    path = root / relative
    if not _has_link(root, parts):
        return path
    try:
        real = path.resolve(strict=False)
        base = root.resolve(strict=False)
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before 3.13
        raise ConfigError(
            f"found path {relative!r} in {root}: cannot be followed: {error}"
        ) from error
    if base != real and base not in real.parents:
        raise ConfigError(f"found path {relative!r}: a link in it leads out of {root} to {real}")
    return path


def _has_link(root: Path, parts: Iterable[str]) -> bool:
    """Return whether a part below `root` is a link: without one no path leads out of it."""
    below = str(root)
    for part in parts:
        below = f"{below}/{part}"
        if os.path.islink(below):
            return True
    return False


@contextmanager
def publishing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for an atomic write: readers see either the old content or all of the new.

    A temporary file in the same folder is flushed and renamed to `path` when the block succeeds;
    then the folder is flushed. If anything fails, the temporary file is removed and `path` is
    unchanged. A device or a pipe is written to directly.

    Raises:
        OSError: If the file cannot be written; names `path`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as stream:
            yield stream
        return
    temporary = temporary_name(path)
    with naming(path, temporary):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_directory(path.parent)


def publish(path: Path, data: bytes) -> None:
    """Write a file atomically (see `publishing`)."""
    with publishing(path) as stream:
        stream.write(data)


def publish_text(path: Path, text: str) -> None:
    """Write text as UTF-8 atomically, keeping its line ends."""
    publish(path, text.encode("utf-8"))


def publish_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files below a folder; none is renamed into place before all are on disk."""
    with ExitStack() as stack:
        for name, data in files.items():
            stack.enter_context(made((folder / name).parent))
            stream = stack.enter_context(publishing(folder / name))
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; if the block fails, remove those that are still empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def naming(path: Path, temporary: Path) -> Iterator[None]:
    """Let an OSError name the requested path if it names the temporary one, or none."""
    try:
        yield
    except OSError as error:
        found = error.filename2 or error.filename
        if found is not None and not str(os.fsdecode(found)).startswith(str(temporary)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def temporary_name(path: Path) -> Path:
    """Return a hidden name next to a path, for a file that is renamed once complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def fsync_directory(path: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path, path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; reading a pipe or a device could block forever.

    Raises:
        LinlyError: If it is not a regular file.
        OSError: If it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe must not wait
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LinlyError(f"{path}: not a regular file")
    return os.fdopen(descriptor, "rb")


def sha256_file(path: Path) -> str:
    """Hash a regular file's bytes: 64 hex digits.

    Raises:
        LinlyError: If it is not a regular file.
        OSError: If it cannot be opened or read.
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_limited(path: Path, *, limit_bytes: int) -> bytes:
    """Read a whole regular file that must not be larger than `limit_bytes`.

    Raises:
        LinlyError: If the file is larger or is not a regular file (a pipe would never end).
        OSError: If it cannot be opened or read.
    """
    with open_regular(path) as stream:
        data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise LinlyError(f"{path}: larger than the {limit_bytes:,} bytes that are allowed here")
    return data
