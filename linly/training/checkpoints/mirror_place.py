"""Storage of a mirror, a folder or an s3:// prefix, where each file is complete or missing."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from linly.errors import ConfigError
from linly.storage.urls import is_url


class MirrorPlace:
    """Files below one folder or prefix, by relative names with forward slashes."""

    def __init__(self, place: str) -> None:
        """Open a place, which need not exist.

        Credentials and endpoints come from the environment. The S3 client retries failed parts.

        Raises:
            ConfigError: If the packages that s3:// needs are not installed.
        """
        self.place = place.rstrip("/")
        self._is_remote = is_url(place)
        try:
            import fsspec

            if self._is_remote:
                options = {"skip_instance_cache": True, "use_listings_cache": False}
                self.files: Any = fsspec.filesystem("s3", **options)
                self._root = self.place.partition("://")[2]
            else:
                self.files = fsspec.filesystem("file", auto_mkdir=True)
                self._root = str(Path(place).absolute())
        except ImportError as error:
            raise ConfigError(
                f"checkpoint.mirror needs packages that are not installed ({error}): "
                "pip install 'linly[remote]'"
            ) from error

    def names(self, below: str = "") -> list[str]:
        """Names of all files, or of those below a folder, without partly written ones."""
        found = self.files.find(f"{self._root}/{below}".rstrip("/"))
        names = (name.removeprefix(self._root).lstrip("/") for name in found)
        return sorted(name for name in names if not _is_hidden(name))

    def read(self, name: str) -> bytes | None:
        """Content of a file; None if it is missing."""
        try:
            data: bytes = self.files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        return data

    def size_bytes(self, name: str) -> int:
        """Size of an existing file."""
        return int(self.files.info(self._at(name))["size"])

    def put(self, source: Path, name: str) -> None:
        """Copy a file to the place, replacing one of the same name."""
        if self._is_remote:
            self.files.put_file(str(source), self._at(name))
            return
        hidden = self._at(f".{name.replace('/', '.')}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            self.files.put_file(str(source), hidden)
            Path(self._at(name)).parent.mkdir(parents=True, exist_ok=True)
            os.replace(hidden, self._at(name))
        finally:
            Path(hidden).unlink(missing_ok=True)

    def create(self, name: str, data: bytes) -> None:
        """Create a file.

        Raises:
            OSError: If it exists already.
        """
        if self._is_remote:
            self.files.pipe_file(self._at(name), data, mode="create")
            return
        path = Path(self._at(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            stream.write(data)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a small file."""
        self.files.pipe_file(self._at(new_name), self.files.cat_file(self._at(name)))
        self.remove(name)

    def remove(self, name: str) -> None:
        """Remove an existing file."""
        self.files.rm_file(self._at(name))

    def get(self, name: str, target: Path) -> None:
        """Copy a file from the place."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self.files.get_file(self._at(name), str(target))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
