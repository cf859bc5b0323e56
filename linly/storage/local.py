"""Files on this machine (or mounted on it): which match a pattern, and ranges of one."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from linly.errors import DataError
from linly.storage.patterns import Pattern
from linly.storage.retries import Retries


class LocalRanges:
    """One attempt at a time; an NFS handle that went stale is opened anew.

    Attributes:
        size_bytes: When it was opened.
    """

    def __init__(self, path: Path) -> None:
        """Open a regular file; opening never waits for a pipe's writer or starts a device.

        Raises:
            OSError: If the file cannot be opened.
            DataError: If it is not a regular file.
        """
        self._path = path
        self._descriptor: int | None = None
        self._descriptor = self._open()
        self.size_bytes = os.fstat(self._descriptor).st_size

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DataError(
                f"{self._path}: is not a regular file (a folder, a pipe or a device); only "
                f"regular files are read"
            )
        return descriptor

    def fetch(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`.

        Raises:
            OSError: It cannot be read.
        """
        if self._descriptor is None:
            self._descriptor = self._open()
        try:
            return os.pread(self._descriptor, size, start)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close it; a later `fetch` opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """What a listing says of a file.

    Attributes:
        size_bytes: Of what it leads to, if it is a link.
        is_link: Itself, not a folder above it.
    """

    size_bytes: int
    is_link: bool


class LocalFolders:
    """The folders below one, with patience; a link that leads back to where it lies is none."""

    def __init__(self, root: Path, retries: Retries) -> None:
        """List below `root`."""
        self._root = str(root)
        self._retries = retries

    def entries(self, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
        """Names in a folder.

        Raises:
            DataError: It cannot be listed.
        """
        path = os.path.join(self._root, folder)

        def listed() -> list[tuple[str, os.DirEntry[str]]]:
            with os.scandir(path) as found:
                return [(entry.name, entry) for entry in found]

        return self._retries.call(listed, f"{path}: cannot be listed")

    def is_folder(self, folder: str, entry: os.DirEntry[str]) -> bool:
        """Whether it is a folder, or a link to one that it does not lie in.

        Raises:
            DataError: That cannot be told.
        """

        def told() -> bool:
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                return False  # links that lead to each other alone
            return is_folder and not (entry.is_symlink() and self._lies_in(folder, entry.path))

        return self._retries.call(told, f"{entry.path}: cannot be found")

    def _lies_in(self, folder: str, target: str) -> bool:
        """Whether a folder is `target` or below it, by the way that led there."""
        looked_for = os.stat(target)
        above = accumulate([self._root, *folder.split("/")], os.path.join)
        return any(os.path.samestat(os.stat(path), looked_for) for path in above)


def list_local_files(pattern: Pattern, root: Path, retries: Retries) -> dict[str, LocalFile]:
    """Regular files below `root` that match, by path from there; a link to nothing is none.

    Raises:
        DataError: A folder cannot be listed, or a file not be looked at.
    """
    if pattern.has_wildcards:
        start = _look(os.path.join(root, pattern.folder), retries)
        if start is None or not S_ISDIR(start[0].st_mode):
            return {}
        paths = [path for path, _ in pattern.expand(LocalFolders(root, retries))]
    else:
        paths = [pattern.path]
    files = {}
    for path in paths:
        found = _look(os.path.join(root, path), retries)
        if found is not None and S_ISREG(found[0].st_mode):
            files[path] = LocalFile(found[0].st_size, found[1])
    return files


def _look(path: str, retries: Retries) -> tuple[os.stat_result, bool] | None:
    """What a path leads to and whether it is a link; None where it leads to nothing."""

    def looked() -> tuple[os.stat_result, bool] | None:
        try:
            status = os.lstat(path)
            if not S_ISLNK(status.st_mode):
                return status, False
            return os.stat(path), True
        except (FileNotFoundError, NotADirectoryError):
            return None

    return retries.call(looked, f"{path}: cannot be found")
