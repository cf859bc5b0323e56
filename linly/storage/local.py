"""A file on this machine (or mounted on it), by ranges."""

from __future__ import annotations

import os
from pathlib import Path


class LocalRanges:
    """One attempt at a time; an NFS handle that went stale is opened anew.

    Attributes:
        size_bytes: When it was opened.
    """

    def __init__(self, path: Path) -> None:
        """Open; waits for a writer when it is a pipe.

        Raises:
            OSError: It cannot be opened.
        """
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self._descriptor).st_size

    def fetch(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`.

        Raises:
            OSError: It cannot be read.
        """
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
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
