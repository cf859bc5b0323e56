"""Shards: the files of a corpus, and their records from any position on.

    corpus file + data root -> list_shards -> Shard -> ShardReader -> RawRecord

A path must be below the data root, also after links are resolved, or be a URL of an allowed scheme.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import get_args

from linly.config.corpus import LITERAL_ROLES, Corpus
from linly.config.fields import BESIDE
from linly.config.shard_formats import FORMATS, FileFormat, FormatName
from linly.data.reading.formats import format_of, read_records
from linly.data.reading.records import FieldPath, parse_field, paths_of
from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord, Shard
from linly.errors import ConfigError, DamagedShardError, DataError
from linly.files import inside
from linly.storage.local import list_local_files
from linly.storage.open_files import FileState, state_of
from linly.storage.patterns import Pattern
from linly.storage.remote import list_remote_files
from linly.storage.retries import Retries, describe
from linly.storage.urls import Location, Url, is_url, name_of, url_problem
from linly.streams import UTF8

__all__ = [
    "RawRecord",
    "Shard",
    "ShardReader",
    "list_held_out_shards",
    "list_shards",
    "locate",
    "paths_read",
]

_MAX_SHOWN = 10
_BETWEEN = "\t"
"""Separator between the paths of line-aligned files, and between their versions."""
_UNFIT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")


def list_shards(corpus: Corpus, data_root: Path) -> tuple[Shard, ...]:
    """List the shards that a corpus trains on: the files of `paths`, sorted by path.

    Files that match `exclude`, or `held_out` if it names files, are left out.

    Raises:
        DataError: If a pattern matches no file (names the pattern, the folder and its content), a
            remote folder cannot be listed, line-aligned files do not pair, or all are left out.
        ConfigError: If a pattern or a link leads out of the data root.
    """
    left_out = list(corpus.exclude)
    if isinstance(corpus.held_out, Mapping):
        left_out += corpus.held_out.values()
    elif isinstance(corpus.held_out, tuple):
        left_out += corpus.held_out
    shards = _list(corpus, corpus.paths, data_root, _Exclusion(left_out))
    if not shards:
        raise DataError(
            f"corpus {corpus.name!r}: `exclude` and `held_out` leave no shard of {corpus.paths}"
        )
    return shards


def list_held_out_shards(corpus: Corpus, data_root: Path) -> tuple[Shard, ...]:
    """List the held-out files of a corpus; none if it holds out a fraction of the records.

    Raises:
        DataError: If `list_shards` would raise it.
        ConfigError: If `list_shards` would raise it.
    """
    if isinstance(corpus.held_out, float | int):
        return ()
    return _list(corpus, corpus.held_out, data_root, _Exclusion(()))


class ShardReader:
    """Reads shards of one corpus; values common to all of them are computed once."""

    def __init__(self, corpus: Corpus, data_root: Path) -> None:
        """Prepare for a corpus's shards below `data_root`.

        Raises:
            ConfigError: If a field of the corpus file cannot be parsed.
        """
        self._corpus = corpus
        self._root = data_root.resolve()
        paths = paths_read(corpus)
        required = dict.fromkeys(path.path for path in paths if not path.optional)
        optional = dict.fromkeys(path.path for path in paths if path.path not in required)
        self._columns, self._optional_columns = tuple(required), tuple(optional)
        self._is_moses = isinstance(corpus.paths, Mapping)
        self._names = tuple(corpus.paths) if self._is_moses else corpus.columns
        self._retries = _retries(corpus)

    def read(self, shard: Shard, start_record: int = 0) -> Iterator[RawRecord]:
        """Read a shard's records from `start_record` on; it is opened with the first record.

        With `damaged_shards: quarantine`, one bad record represents everything that is unreadable
        due to damage. It depends only on the shard's bytes, so a resume finds the same record.
        Unreachable storage is not damage.

        Raises:
            DamagedShardError: If the shard is damaged or truncated; names corpus, shard, and the
                last record before the damage.
            DataError: If the shard is missing, has been changed, cannot be read, or is not of its
                format; names the same.
            ConfigError: If its path leads out of the data root.
        """
        last: RawRecord | None = None
        files = self._files(shard, start_record)
        try:
            _check_unchanged(shard, files)
            for last in read_records(_format(self._corpus, shard), files):
                yield last
            return
        except DataError as error:
            reached = "before its first record" if last is None else f"after record {last.record}"
            where = f"corpus {self._corpus.name!r}, shard {shard.path!r}, {reached}"
            if not isinstance(error, DamagedShardError):
                raise DataError(f"{where}: {error}") from error
            if self._corpus.damaged_shards == "error":
                raise DamagedShardError(
                    f"{where}: {error}; to continue without the rest of it, set "
                    f"`damaged_shards: quarantine`"
                ) from error
            reason = f"the rest of the shard is left out due to damage: {error}"
        next_record = start_record if last is None else last.record + 1
        yield RawRecord(next_record, None, reason, 0, ends_shard=True)

    def _files(self, shard: Shard, start_record: int) -> ShardFiles:
        paths = shard.path.split(_BETWEEN) if self._is_moses else (shard.path,)
        return ShardFiles(
            paths=tuple(locate(self._root, path) for path in paths),
            names=self._names,
            columns=self._columns,
            optional_columns=self._optional_columns,
            start_record=start_record,
            encoding=self._corpus.encoding,
            retries=self._retries,
            delimiter=self._corpus.delimiter,
            escape=self._corpus.escape,
        )


def locate(data_root: Path, path: str) -> Location:
    """Return the location of a file of a shard.

    Raises:
        ConfigError: If it leads out of the data root, or is a URL that is not allowed.
    """
    if not is_url(path):
        return inside(data_root, path)
    if text := url_problem(path):
        raise ConfigError(f"found path {path!r}: {text}")
    return Url(path)


def _check_unchanged(shard: Shard, files: ShardFiles) -> None:
    """Reject a shard that changed since it was listed: it would yield other rows."""
    found = [state_of(path, files.retries) for path in files.paths]
    if not all(state.is_regular for state in found):
        return  # opening it reports the error
    size_bytes, version = sum(state.size_bytes for state in found), _version(found)
    if size_bytes != shard.size_bytes:
        raise DataError(
            f"it has {size_bytes:,} bytes, but had {shard.size_bytes:,} when the shards were "
            "listed: it has changed since; restore that file, or start another run"
        )
    if None not in (version, shard.version) and version != shard.version:
        raise DataError(
            f"it is version {version}, but was {shard.version} when the shards were listed: it "
            "has changed since; restore that file, or start another run"
        )


def _version(states: Sequence[FileState]) -> str | None:
    """Versions of a shard's files, if all of them have one."""
    versions = [state.version for state in states if state.version is not None]
    return _BETWEEN.join(versions) if len(versions) == len(states) else None


def _retries(corpus: Corpus) -> Retries:
    return Retries(corpus.read_attempts, corpus.read_delay_s)


def _format(corpus: Corpus, shard: Shard) -> FormatName:
    if isinstance(corpus.paths, Mapping):
        return "moses"
    found = corpus.format or format_of(shard.path)
    if found is None:
        raise DataError(
            f"corpus {corpus.name!r}: the format of {shard.path!r} is not clear from its name; set "
            f"`format` to one of {', '.join(get_args(FileFormat))}"
        )
    if FORMATS[found].has_own_encoding and corpus.encoding != UTF8:
        raise ConfigError(
            f"corpus {corpus.name!r}: encoding: found {corpus.encoding}, allowed: none for "
            f"{shard.path!r} ({found} has its own)"
        )
    return found


def paths_read(corpus: Corpus) -> list[FieldPath]:
    """List all paths that `fields` and `where` of a corpus file read."""
    paths = [FieldPath.parse(where.field) for where in corpus.where]
    for role, written in corpus.fields.items():
        if role not in LITERAL_ROLES and not _is_within_turn(corpus, role):
            paths.extend(paths_of(parse_field(written)))
    if corpus.kind == "conversation":
        paths += [FieldPath.parse(f"{name}?") for name in chain(*BESIDE.values())]
    return paths


def _is_within_turn(corpus: Corpus, role: str) -> bool:
    """Check whether a role's path starts at a turn of `messages`, not at the record."""
    if corpus.kind != "conversation" or "messages" not in corpus.fields:
        return False
    return role not in ("messages", "system", "tools")


class _Exclusion:
    """Patterns of files to leave out; they are only matched against names, never expanded."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [Pattern(pattern) for pattern in patterns]

    def __contains__(self, path: str) -> bool:
        return any(pattern.match(path) is not None for pattern in self._patterns)


def _list(
    corpus: Corpus,
    patterns: tuple[str, ...] | Mapping[str, str],
    data_root: Path,
    left_out: _Exclusion,
) -> tuple[Shard, ...]:
    written = patterns.values() if isinstance(patterns, Mapping) else patterns
    by_pattern = []
    first_written: dict[str, str] = {}  # a file with two URLs counts once
    for pattern in written:
        found = _matching(corpus, pattern, data_root).items()
        by_pattern.append({first_written.setdefault(name_of(p), p): state for p, state in found})
    states = {path: state for found in by_pattern for path, state in found.items()}
    kept = [[path for path in found if path not in left_out] for found in by_pattern]
    for path in chain(*kept):
        _check_name(corpus, path)
    if isinstance(patterns, Mapping):
        shards = _pair(corpus, patterns, kept)
    else:
        shards = [(path,) for path in sorted(set().union(*kept))]
    return tuple(_shard(paths, [states[path] for path in paths]) for paths in shards)


def _shard(paths: Sequence[str], states: Sequence[FileState]) -> Shard:
    size_bytes = sum(state.size_bytes for state in states)
    return Shard(_BETWEEN.join(paths), size_bytes, _version(states))


def _check_name(corpus: Corpus, path: str) -> None:
    """Reject a name that a shard list cannot contain: its tabs and lines have a meaning."""
    if _UNFIT.search(path):
        raise DataError(
            f"corpus {corpus.name!r}: found file {path!r}, whose name has a control character or "
            "is not UTF-8; rename the file, or leave it out with `exclude`"
        )


def _matching(corpus: Corpus, pattern: str, data_root: Path) -> dict[str, FileState]:
    """Matching files and their states, by URL or path below the data root."""
    try:
        if is_url(pattern):
            files = list_remote_files(Pattern(pattern), _retries(corpus))
            return {file.url.text: FileState(file.size_bytes, file.version) for file in files}
        found = _matching_below(Pattern(pattern), data_root.resolve(), _retries(corpus))
        if not found:
            raise DataError(
                f"no file matches {pattern!r} in {data_root}; "
                f"{_what_is_there(Pattern(pattern), data_root)}; correct `paths` or `data_root`"
            )
    except DataError as error:
        raise DataError(f"corpus {corpus.name!r}: {error}") from error
    return found


def _matching_below(pattern: Pattern, root: Path, retries: Retries) -> dict[str, FileState]:
    """Local files that match.

    Links are resolved once per folder, since there may be 100,000 files.
    """
    found = {}
    checked: set[str] = set()
    for path, file in list_local_files(pattern, root, retries).items():
        folder = path.rpartition("/")[0]
        if file.is_link or folder not in checked:
            inside(root, path)
            checked.add(folder)
        found[path] = FileState(file.size_bytes)
    return found


def _what_is_there(pattern: Pattern, data_root: Path) -> str:
    """Describe the content of the deepest existing folder of a pattern."""
    folder = data_root
    for part in PurePosixPath(pattern.folder).parts:
        if not (folder / part).is_dir():
            break
        folder /= part
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    except OSError as error:
        return f"{folder} cannot be listed: {describe(error)}"
    shown = ", ".join(names[:_MAX_SHOWN]) or "nothing"
    more = len(names) - _MAX_SHOWN
    return f"{folder} holds {shown}{f' and {more} more' if more > 0 else ''}"


def _pair(
    corpus: Corpus, patterns: Mapping[str, str], found: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """Pair line-aligned files whose wildcards match the same text."""
    by_key = [_by_wildcards(*given) for given in zip(patterns.values(), found, strict=True)]
    keys = set(by_key[0]).union(*by_key[1:])
    alone = [
        files[key] for key in sorted(keys) for files in by_key if key in files
        if not all(key in other for other in by_key)
    ]  # fmt: skip
    if alone:
        raise DataError(
            f"corpus {corpus.name!r}: no partner for {', '.join(alone[:_MAX_SHOWN])}; `paths` "
            f"pairs files whose wildcards match the same text: {dict(patterns)}"
        )
    return sorted((tuple(files[key] for files in by_key) for key in keys), key=_BETWEEN.join)


def _by_wildcards(pattern: str, paths: Sequence[str]) -> dict[tuple[str, ...], str]:
    wildcards = Pattern(pattern)
    files = {}
    for path in paths:
        key = wildcards.match(path)
        assert key is not None, f"{path} was listed for {pattern}"
        files[key] = path
    return files
