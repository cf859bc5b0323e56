"""Operations on the disk that a checkpoint needs: room, removal, free names, errors with a cure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from linly.errors import CheckpointError

_MARGIN_BYTES = 64 << 20
"""Extra space for the manifest, file headers, and logs that grow during a save."""


def check_space(folder: Path, size_bytes: int) -> None:
    """Check that a checkpoint fits on the disk.

    Raises:
        CheckpointError: If it does not; the error has the needed and free bytes.
    """
    free, needed = shutil.disk_usage(folder).free, size_bytes + _MARGIN_BYTES
    if free < needed:
        raise CheckpointError(
            f"{folder}: a checkpoint needs {needed:,} bytes, but only {free:,} are free; earlier "
            "checkpoints are complete. Free some space, or keep fewer checkpoints "
            "(checkpoint.keep_last, checkpoint.keep_every), then start the same command again"
        )


def remove(path: Path) -> None:
    """Remove a checkpoint's folder, or a file or link in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def fsync_file(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def free_name(path: Path) -> Path:
    """The path, or with a number appended if it exists."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


@contextmanager
def as_checkpoint_error(path: Path) -> Iterator[None]:
    """Raise errors of writing a path as `CheckpointError`, with the cure."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"writing {path}: {error}; earlier checkpoints are complete. Free some space or repair "
            "the disk, then start the same command again"
        ) from error
