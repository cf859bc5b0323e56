"""Atomic creation of a folder: it appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linly.errors import ConfigError
from linly.files import fsync_directory, made, naming, temporary_name


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path` that is renamed to it if the block succeeds.

    Raises:
        ConfigError: If `path` exists and is not an empty folder.
        OSError: If the folder cannot be written; it names `path`.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"output {path}: exists already; pass a new folder or remove it first")
    temporary = temporary_name(path)
    with naming(path, temporary), made(path.parent):
        try:
            temporary.mkdir()
            yield temporary
            _fsync_all(temporary)
            os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_directory(path.parent)


def _fsync_all(top: Path) -> None:
    for folder, _, names in os.walk(top):
        for name in names:
            with Path(folder, name).open("rb") as stream:
                os.fsync(stream.fileno())
        fsync_directory(Path(folder))
