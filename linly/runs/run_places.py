"""Places where a run is, or may start: a run's folder, or an empty one outside other runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from linly.errors import ConfigError

_MADE_FIRST = ("lock", "rows", "checkpoints")
"""Files created first in a run folder, by which a killed start is recognized."""

_LAUNCHER_SUFFIXES = frozenset({".log", ".out", ".err"})
"""Suffixes of launcher logs, which may exist in the folder before the run."""

_NAMES_SHOWN = 5


def enclosing_run(path: Path) -> Path | None:
    """The run folder that contains `path`, links resolved; None if there is none."""
    return next(filter(_is_run, path.resolve().parents), None)


def check_place(path: Path) -> None:
    """Check that a run exists or may start at `path`; writes nothing.

    A run that starts removes and overwrites files with the names of its own.

    Raises:
        ConfigError: If the path exists and is neither a run nor an empty folder (launcher logs are
            allowed), or if a new run would be inside the folder of another run.
    """
    elsewhere = "choose another with run=PATH"
    try:
        found = sorted(path.iterdir())
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise ConfigError(f"run folder {path}: {error.strerror}; {elsewhere}") from error
    if _is_run(path):
        return
    outer = enclosing_run(path)
    if outer is not None:
        raise ConfigError(
            f"run folder {path}: is inside the folder of another run, {outer}; {elsewhere}"
        )
    others = [entry for entry in found if not _may_come_first(entry)]
    if others:
        names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in others]
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        raise ConfigError(
            f"run folder {path}: is not a run and is not empty: found {shown}{more}, which a run "
            f"could overwrite; {elsewhere}: a missing or empty folder, or a run"
        )


def check_may_create(path: Path) -> None:
    """Check that this user may create a run folder, or write into an existing one.

    Raises:
        ConfigError: If not; as `cannot_create`.
    """
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise cannot_create(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES), nearest))


def cannot_create(path: Path, error: OSError) -> ConfigError:
    """The error for a run folder that the system refuses to create."""
    return ConfigError(
        f"run folder {path}: cannot be created: {error.strerror} ({error.filename}); choose "
        f"another with run=PATH"
    )


def _is_run(path: Path) -> bool:
    """Whether the folder is a run; a copy of one has no lock."""
    begun = all((path / name).exists() for name in _MADE_FIRST)
    return begun or (path / "decisions.jsonl").is_file()


def _may_come_first(entry: Path) -> bool:
    """Whether an entry is allowed in a new run's folder: from a killed start, or a log."""
    if entry.is_dir():
        return entry.name in (*_MADE_FIRST, "logs")
    return (
        entry.name in _MADE_FIRST
        or entry.name.startswith(".")
        or entry.suffix in _LAUNCHER_SUFFIXES
    )
