"""The boundary around the libraries that read shards: what they raise becomes an error of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from linly.errors import DamagedShardError, DataError, LinlyError
from linly.storage.urls import Location


@contextmanager
def errors_of(paths: Sequence[Location], kind: str) -> Iterator[None]:
    """Turn every error that is not ours into one that names the files and the cure.

    A reader raises DamagedShardError for the damage that it knows. Anything else may as well be
    a fault of a library, so it stops the run whatever the policy for damaged shards.

    Args:
        paths: Files that are read within.
        kind: Name of their format.

    Raises:
        DataError: In place of what is not a LinlyError.
    """
    try:
        yield
    except LinlyError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{_names(paths)}: not enough memory to read it as {kind}; see what else runs on "
            f"this machine, or lower its limits (ulimit -v)"
        ) from error
    except Exception as error:
        raise DataError(
            f"{_names(paths)}: cannot be read as {kind}: {type(error).__name__}: {error}; leave "
            f"the file out with `exclude`, or write it again"
        ) from error


def columnar_error(path: Location, what: str, error: Exception) -> DataError:
    """Explain what pyarrow raised while it read a columnar file.

    Args:
        path: File that was read.
        what: Name of the format.
        error: Error of pyarrow.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        return DataError(f"{path}: not enough memory to read it: {text}")
    if "decrypt" in text:
        return encrypted(path)
    return DamagedShardError(f"{path}: the {what} is cut short or damaged: {text}")


def encrypted(path: Location) -> DataError:
    """Return the error of a parquet file that only a key can open."""
    return DataError(
        f"{path}: is an encrypted parquet file, or a column asked for is; keys are not supported, "
        f"so write it again without encryption"
    )


def _names(paths: Sequence[Location]) -> str:
    return ", ".join(map(str, paths))
