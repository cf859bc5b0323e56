"""Shards: which files a corpus has, and their records from any position on.

    corpus file + data root -> list_shards -> Shard -> open_shard -> RawRecord

Nothing outside the data root is read: patterns stay below it, and so does what links lead to.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from linly.config.corpus import Corpus
from linly.data.formats import READERS, format_of
from linly.data.records import FieldPath, parse_field, paths_of
from linly.data.shard_files import ShardFiles
from linly.data.types import RawRecord, Shard
from linly.errors import ConfigError, DataError
from linly.files import inside
from linly.streams import UTF8

__all__ = ["RawRecord", "Shard", "list_held_out_shards", "list_shards", "open_shard"]

_MAX_SHOWN = 10
_WITH_OWN_ENCODING = frozenset({"parquet", "arrow"})
_LITERAL_ROLES = frozenset({"user_mark", "assistant_mark"})
"""Roles of `fields` that hold text themselves, not a path to it (marks of a conversation)."""


def list_shards(corpus: Corpus, data_root: Path) -> tuple[Shard, ...]:
    """List the shards that a corpus trains on: those of `paths`, sorted by path.

    Files that match `exclude`, or `held_out` where that names files, are left out.

    Raises:
        DataError: A pattern finds no file (names the pattern, the folder and what is there),
            line-aligned files do not pair, or all are left out.
        ConfigError: A pattern or a link leads out of the data root.
    """
    left_out = set(_matching(corpus.exclude, data_root))
    if isinstance(corpus.held_out, Mapping):
        left_out |= set(_matching(corpus.held_out.values(), data_root))
    elif isinstance(corpus.held_out, tuple):
        left_out |= set(_matching(corpus.held_out, data_root))
    shards = _list(corpus, corpus.paths, data_root, left_out)
    if not shards:
        raise DataError(
            f"corpus {corpus.name!r}: `exclude` and `held_out` leave no shard of {corpus.paths}"
        )
    return shards


def list_held_out_shards(corpus: Corpus, data_root: Path) -> tuple[Shard, ...]:
    """List the held-out files of a corpus; none when it holds records out by fraction.

    Raises:
        DataError: As `list_shards`.
        ConfigError: As `list_shards`.
    """
    if isinstance(corpus.held_out, float | int):
        return ()
    return _list(corpus, corpus.held_out, data_root, set())


def open_shard(
    corpus: Corpus, data_root: Path, shard: Shard, *, start_record: int = 0
) -> Iterator[RawRecord]:
    """Read a shard's records from `start_record` on.

    Raises:
        DataError: The shard is missing, damaged, cut short, or not of its format; names corpus,
            shard, and the record after which it happened.
    """
    reached = "before its first record"
    files = _shard_files(corpus, data_root, shard, start_record)
    try:
        _check_size(shard, files.paths)
        for raw in READERS[_format(corpus, shard)](files):
            reached = f"after record {raw.record}"
            yield raw
    except DataError as error:
        where = f"corpus {corpus.name!r}, shard {shard.path!r}, {reached}"
        raise DataError(f"{where}: {error}") from error


def _check_size(shard: Shard, paths: Sequence[Path]) -> None:
    """Refuse a shard that is not the one that was listed: other rows would come out of it."""
    try:
        found = [path.stat() for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}; bring the file back") from error
    if not all(S_ISREG(status.st_mode) for status in found):
        return  # a pipe has no size; reading it tells
    size_bytes = sum(status.st_size for status in found)
    if size_bytes != shard.size_bytes:
        raise DataError(
            f"it has {size_bytes:,} bytes, but had {shard.size_bytes:,} when the shards were "
            "listed: it has been changed since; bring that file back, or start another run"
        )


def _format(corpus: Corpus, shard: Shard) -> str:
    if isinstance(corpus.paths, Mapping):
        return "moses"
    found = corpus.format or format_of(Path(shard.path))
    if found is None:
        raise DataError(
            f"corpus {corpus.name!r}: the name of {shard.path!r} does not tell its format; set "
            f"`format` to one of {', '.join(name for name in READERS if name != 'moses')}"
        )
    if found in _WITH_OWN_ENCODING and corpus.encoding != UTF8:
        raise ConfigError(
            f"corpus {corpus.name!r}: encoding: found {corpus.encoding}, allowed: none for "
            f"{shard.path!r} ({found} has its own)"
        )
    return found


def _shard_files(corpus: Corpus, data_root: Path, shard: Shard, start_record: int) -> ShardFiles:
    names = tuple(corpus.paths) if isinstance(corpus.paths, Mapping) else corpus.columns
    paths = _paths_read(corpus)
    root = data_root.resolve()
    required = dict.fromkeys(path.column for path in paths if not path.optional)
    optional = dict.fromkeys(path.column for path in paths if path.column not in required)
    return ShardFiles(
        paths=tuple(inside(root, path) for path in shard.path.split("\t")),
        names=names,
        columns=tuple(required),
        optional_columns=tuple(optional),
        start_record=start_record,
        encoding=corpus.encoding,
    )


def _paths_read(corpus: Corpus) -> list[FieldPath]:
    """List all paths that `fields` and `where` of a corpus file look at."""
    paths = [FieldPath.parse(where.field) for where in corpus.where]
    for role, written in corpus.fields.items():
        if role not in _LITERAL_ROLES and not _is_within_turn(corpus, role):
            paths.extend(paths_of(parse_field(written)))
    return paths


def _is_within_turn(corpus: Corpus, role: str) -> bool:
    """Tell if a role's path starts at a turn of `messages`, not at the record."""
    return corpus.kind == "conversation" and "messages" in corpus.fields and role != "messages"


def _list(
    corpus: Corpus,
    patterns: tuple[str, ...] | Mapping[str, str],
    data_root: Path,
    left_out: set[str],
) -> tuple[Shard, ...]:
    if isinstance(patterns, Mapping):
        paths = _pair(corpus, patterns, data_root, left_out)
    else:
        found: set[str] = set()
        for pattern in patterns:
            found |= set(_match_some(corpus, pattern, data_root))
        paths = sorted(found - left_out)
    return tuple(Shard(path, _size_bytes(path, data_root)) for path in paths)


def _size_bytes(path: str, data_root: Path) -> int:
    return sum((data_root / part).stat().st_size for part in path.split("\t"))


def _match_some(corpus: Corpus, pattern: str, data_root: Path) -> list[str]:
    found = _matching([pattern], data_root)
    if not found:
        raise DataError(
            f"corpus {corpus.name!r}: no file matches {pattern!r} in {data_root}; "
            f"{_what_is_there(pattern, data_root)}; correct `paths` or `data_root`"
        )
    return found


def _matching(patterns: Iterable[str], data_root: Path) -> list[str]:
    """List files that match, relative to the data root, with forward slashes."""
    found = []
    root = data_root.resolve()
    for pattern in patterns:
        for match in glob.iglob(pattern, root_dir=root, recursive=True):
            path = Path(match).as_posix()
            if inside(root, path).is_file():
                found.append(path)
    return found


def _what_is_there(pattern: str, data_root: Path) -> str:
    """Say what the deepest folder of a pattern that exists holds."""
    folder = data_root
    for part in PurePosixPath(pattern).parts[:-1]:
        if glob.has_magic(part) or not (folder / part).is_dir():
            break
        folder /= part
    if not folder.is_dir():
        return f"{folder} is no folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    shown = ", ".join(names[:_MAX_SHOWN]) or "nothing"
    more = len(names) - _MAX_SHOWN
    return f"{folder} holds {shown}{f' and {more} more' if more > 0 else ''}"


def _pair(
    corpus: Corpus, patterns: Mapping[str, str], data_root: Path, left_out: set[str]
) -> list[str]:
    """Pair line-aligned files whose wildcards stand for the same text; tab-joined paths."""
    by_key = [_by_wildcards(corpus, p, data_root, left_out) for p in patterns.values()]
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
    return sorted("\t".join(files[key] for files in by_key) for key in keys)


def _by_wildcards(
    corpus: Corpus, pattern: str, data_root: Path, left_out: set[str]
) -> dict[tuple[str, ...], str]:
    expression = re.compile(_with_groups(pattern))
    files = {}
    for path in _match_some(corpus, pattern, data_root):
        match = expression.fullmatch(path)
        assert match is not None, f"{path} matches {pattern} as a glob only"
        if path not in left_out:
            files[match.groups()] = path
    return files


def _with_groups(pattern: str) -> str:
    """Turn a glob into a regular expression with a group for each wildcard."""
    wildcard = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]")
    expressions = {"**/": "((?:[^/]+/)*)", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}
    parts: list[str] = []
    end = 0
    for match in wildcard.finditer(pattern):
        parts.append(re.escape(pattern[end : match.start()]))
        token = match.group()
        parts.append(expressions.get(token) or f"({token.replace('[!', '[^')})")
        end = match.end()
    return "".join(parts) + re.escape(pattern[end:])
