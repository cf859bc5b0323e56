"""Converts the exceptions of the libraries that read shards into errors of linly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from linly.errors import DamagedShardError, DataError, LinlyError
from linly.storage.urls import Location


@contextmanager
def errors_of(paths: Sequence[Location], kind: str) -> Iterator[None]:
    """Convert every other exception into a DataError with the files and the cure.

    A reader raises DamagedShardError for damage that it detects. Any other exception may be a
    fault of a library, so it stops the run under every policy for damaged shards.

    Args:
        paths: Files that are read in the block.
        kind: Name of their format.

    Raises:
        DataError: If the block raises an exception that is not a LinlyError.
    """
    try:
        yield
    except LinlyError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{_names(paths)}: not enough memory to read it as {kind}; free memory on this "
            f"machine, or raise the limit (ulimit -v)"
        ) from error
    except Exception as error:
        raise DataError(
            f"{_names(paths)}: cannot be read as {kind}: {type(error).__name__}: {error}; leave "
            f"the file out with `exclude`, or write it again"
        ) from error


def columnar_error(path: Location, what: str, error: Exception) -> DataError:
    """Convert an exception that pyarrow raised while reading a columnar file.

    Args:
        path: File that was read.
        what: Name of the format.
        error: Exception of pyarrow.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        return DataError(f"{path}: not enough memory to read it: {text}")
    if "decrypt" in text:
        return encrypted(path)
    return DamagedShardError(f"{path}: the {what} is truncated or damaged: {text}")


def encrypted(path: Location) -> DataError:
    """Return the error for a parquet file that requires a key."""
    return DataError(
        f"{path}: is an encrypted parquet file, or a requested column is; keys are not supported, "
        f"so write it again without encryption"
    )


def _names(paths: Sequence[Location]) -> str:
    return ", ".join(map(str, paths))
