"""Files on this machine (or mounted on it): listing by pattern, and ranges of a file."""

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
    """Ranges of a local file, one attempt at a time; a stale NFS handle is reopened.

    Attributes:
        size_bytes: Size of the file when it was opened.
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
        """Return up to `size` bytes from `start`.

        Raises:
            OSError: If the file cannot be read.
        """
        if self._descriptor is None:
            self._descriptor = self._open()
        try:
            return os.pread(self._descriptor, size, start)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; a later `fetch` reopens it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of a listing.

    Attributes:
        size_bytes: Size of the file, or of a link's target.
        is_link: Whether the file itself, not a folder above it, is a link.
    """

    size_bytes: int
    is_link: bool


class LocalFolders:
    """Folders below a root, with retries; a link to a folder that contains it is not followed."""

    def __init__(self, root: Path, retries: Retries) -> None:
        """List below `root`."""
        self._root = str(root)
        self._retries = retries

    def entries(self, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
        """List the names in a folder.

        Raises:
            DataError: If it cannot be listed.
        """
        path = os.path.join(self._root, folder)

        def listed() -> list[tuple[str, os.DirEntry[str]]]:
            with os.scandir(path) as found:
                return [(entry.name, entry) for entry in found]

        return self._retries.call(listed, f"{path}: cannot be listed")

    def is_folder(self, folder: str, entry: os.DirEntry[str]) -> bool:
        """Return whether an entry is a folder, or a link to one that does not contain it.

        Raises:
            DataError: If the entry cannot be examined.
        """

        def told() -> bool:
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                return False  # links that lead only to each other
            return is_folder and not (entry.is_symlink() and self._lies_in(folder, entry.path))

        return self._retries.call(told, f"{entry.path}: cannot be found")

    def _lies_in(self, folder: str, target: str) -> bool:
        """Return whether a folder is `target` or below it, along the path from the root."""
        looked_for = os.stat(target)
        above = accumulate([self._root, *folder.split("/")], os.path.join)
        return any(os.path.samestat(os.stat(path), looked_for) for path in above)


def list_local_files(pattern: Pattern, root: Path, retries: Retries) -> dict[str, LocalFile]:
    """List matching regular files below `root`, by relative path; broken links are left out.

    Raises:
        DataError: If a folder cannot be listed, or a file cannot be examined.
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
    """Return the status of a path's target and whether it is a link; None if it does not exist."""

    def looked() -> tuple[os.stat_result, bool] | None:
        try:
            status = os.lstat(path)
            if not S_ISLNK(status.st_mode):
                return status, False
            return os.stat(path), True
        except (FileNotFoundError, NotADirectoryError):
            return None

    return retries.call(looked, f"{path}: cannot be found")
