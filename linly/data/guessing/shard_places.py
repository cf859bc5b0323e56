"""Places of shards: the data root that holds some patterns, and names for their corpora."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from linly.errors import ConfigError
from linly.storage.local import list_local_files
from linly.storage.patterns import Pattern
from linly.storage.retries import Retries
from linly.storage.urls import is_url

_NAME_LIMIT = 64
_GENERAL = re.compile(
    r"(?i:data|datasets?|corpus|corpora|raw|texts?|files?|default|main|all|snapshots|"
    r"train(ing)?|valid(ation)?|dev|test|eval|jsonl?|parquet|csv|tsv|txt|arrow|zst|gz|"
    r"(chunk|part|shard|split|file|sub|dir|disk)s?[-_]?\d*|[0-9a-f]{16,}|[\d_.-]+)|[A-Z]{2}"
)
"""Names of folders that say nothing about their content."""

_SPLITS = {
    "valid": "validation", "validation": "validation", "val": "validation", "dev": "validation",
    "eval": "validation", "heldout": "validation", "holdout": "validation", "test": "test",
}  # fmt: skip
_NO_WORD = re.compile(r"[\W_\d]+")
_LETTER = re.compile(r"[^\W\d_]")
_NUMBERS = re.compile(r"([-_.]\d+)?([-_.]of[-_.]\d+)?$")
"""Number of a shard, at the end of its name."""

_HUB_PREFIX = "datasets--"
_ANY_DEPTH = PurePosixPath("**")
_ONE_ATTEMPT = Retries(1, 0.0)


@dataclass(frozen=True, slots=True)
class ShardPatterns:
    """Patterns of shards below a data root.

    Attributes:
        data_root: Folder that the patterns are relative to.
        patterns: Patterns below it, and URLs.
    """

    data_root: Path
    patterns: tuple[str, ...]


def below_data_root(written: Sequence[str], data_root: Path | None) -> ShardPatterns:
    """Find a data root for patterns, and the patterns below it.

    A relative pattern is one of the given data root if it matches a file there, else one of the
    working directory. A folder stands for all files below it.

    Args:
        written: Patterns, files, folders and URLs, as a user types them.
        data_root: Data root; None chooses the working directory if it holds all patterns, else a
            folder that does.

    Raises:
        ConfigError: If the given data root does not hold all patterns; names a folder that does.
    """
    root = PurePosixPath((data_root or Path(".")).resolve())
    places = {
        one: _place(data_root if data_root and _is_of(data_root, one) else Path("."), one)
        for one in written
        if not is_url(one)
    }
    outside = [one for one, place in places.items() if not place.folder.is_relative_to(root)]
    found = data_root or Path(".")
    if outside:
        folders = [_above(place) for place in places.values()]
        if data_root is not None:
            common = os.path.commonpath([root, *folders])
            raise ConfigError(
                f"{outside[0]!r} is outside the data root {data_root}, and `paths` of a corpus "
                f"file are below it. Pass --data-root with a folder that holds all corpora of "
                f"your recipe, such as {common}, or put the files below {data_root}"
            )
        root = PurePosixPath(os.path.commonpath(folders))
        found = Path(root)
    patterns = (places[one].below(root) if one in places else one for one in written)
    return ShardPatterns(found, tuple(patterns))


def named_folder(pattern: str) -> str:
    """Return the folder that a corpus is named after: the deepest one that says what it holds.

    Folders with a wildcard, and names such as `data`, `train` and `chunk1` do not; if there are no
    others, it is the topmost one. It is "" for a file in the data root.
    """
    scheme, _, rest = pattern.rpartition("://")
    folders = _fixed(PurePosixPath(rest).parts[:-1])
    first = 1 if scheme else 0  # the server
    end = len(folders)
    while end > first and _GENERAL.fullmatch(folders[end - 1]):
        end -= 1
    found = "/".join(folders[: max(end, first + 1)])
    return f"{scheme}://{found}" if scheme else found


def name_corpus(pattern: str) -> str:
    """Name a corpus after the folder of its shards, or after its files."""
    folders = PurePosixPath(named_folder(pattern)).parts
    folder = folders[-1] if len(folders) > (2 if is_url(pattern) else 0) else ""
    names = [name for name in (_word(folder), file_name(pattern)) if name]
    telling = [name for name in names if not _GENERAL.fullmatch(name)]
    return [*telling, *names, "corpus"][0]


def split_of(path: str) -> str | None:
    """Return the evaluation split that a file's path names, `validation` or `test`, if any.

    The folder that names the corpus and those above it do not count, if that one is telling.
    """
    named = named_folder(path)
    below = path if _GENERAL.fullmatch(PurePosixPath(named).name) else path.removeprefix(named)
    words = _NO_WORD.split(below.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def file_name(path: str) -> str:
    """Return a name for a corpus of one file; "" if the file's is only a number."""
    return _word(PurePosixPath(path).name)


def _word(name: str) -> str:
    """Return the part of a name that may be a corpus's: before its suffixes and wildcards."""
    begin = re.split(r"[*?[]", name.removeprefix(_HUB_PREFIX), maxsplit=1)[0].split(".", 1)[0]
    word = re.sub(r"\W+", "-", _NUMBERS.sub("", begin)).strip("-_")[:_NAME_LIMIT]
    return word if _LETTER.search(word) else ""


def free_name(candidates: Sequence[str], taken: Collection[str]) -> str:
    """Return the first candidate that is not taken, else the first one with a number."""
    for name in candidates:
        if name not in taken:
            return name
    number = 2
    while (name := extended_name(candidates[0], str(number))) in taken:
        number += 1
    return name


def extended_name(name: str, word: str) -> str:
    """Return a name with a word after it, within the limit of names."""
    return f"{name[: _NAME_LIMIT - len(word) - 1]}-{word}"


def covering_patterns(files: Sequence[str], data_root: Path) -> list[str]:
    """Return patterns that match exactly some files of a data root: one with a wildcard, if any."""
    if len(files) > 1 and not any(map(is_url, files)):
        common = os.path.commonpath([PurePosixPath(one).parent for one in files])
        folder = f"{glob.escape(common)}/" if common else ""
        names = [PurePosixPath(one).name for one in files]
        prefix, end = _common_prefix(names), _common_prefix([name[::-1] for name in names])[::-1]
        suffix = glob.escape(end[end.find(".") :]) if "." in end else ""
        for names_of in (f"*{suffix}", f"{glob.escape(prefix)}*{suffix}"):
            for pattern in (f"{folder}{names_of}", *([f"{folder}**/{names_of}"] if folder else [])):
                if set(list_local_files(Pattern(pattern), data_root, _ONE_ATTEMPT)) == set(files):
                    return [pattern]
    return [one if is_url(one) else glob.escape(one) for one in sorted(files)]


def _common_prefix(names: Sequence[str]) -> str:
    """Return the characters that all names begin with."""
    return "".join(
        column[0] for column in takewhile(lambda c: len(set(c)) == 1, zip(*names, strict=False))
    )


def _fixed(parts: Sequence[str]) -> list[str]:
    return list(takewhile(lambda part: not glob.has_magic(part), parts))


@dataclass(frozen=True, slots=True)
class _Place:
    """Absolute folder before the first wildcard of a pattern, and the pattern below it."""

    folder: PurePosixPath
    rest: PurePosixPath

    def below(self, root: PurePosixPath) -> str:
        """Return the pattern relative to a folder above it."""
        folder = PurePosixPath(glob.escape(self.folder.relative_to(root).as_posix()))
        return (folder / self.rest).as_posix()


def _place(base: Path, pattern: str) -> _Place:
    """Find a pattern's folder, with its links resolved; a folder stands for all files below it."""
    path = Path(os.path.abspath(base / os.path.expanduser(pattern)))
    if path.is_dir():
        return _Place(PurePosixPath(path.resolve()), _ANY_DEPTH)
    if path.is_file():
        return _Place(PurePosixPath(path.parent.resolve()), PurePosixPath(glob.escape(path.name)))
    folder = Path(*_fixed(path.parent.parts))
    return _Place(PurePosixPath(folder.resolve()), PurePosixPath(path.relative_to(folder)))


def _is_of(root: Path, pattern: str) -> bool:
    """Check whether a pattern matches below a root, or else nowhere."""
    return _matches(root, pattern) or not _matches(Path("."), pattern)


def _matches(folder: Path, pattern: str) -> bool:
    """Check whether a pattern matches a file or a folder below a folder."""
    place = _place(folder, pattern)
    return bool(list_local_files(Pattern(str(place.rest)), Path(place.folder), _ONE_ATTEMPT))


def _above(place: _Place) -> PurePosixPath:
    """Return the folder above the one that names the corpus of a place.

    It is the folder itself if that stands for all files below it and holds folders with names of
    their own.
    """
    folder = place.folder
    is_home = folder == PurePosixPath(Path.home())
    if is_home or (place.rest == _ANY_DEPTH and _holds_corpora(folder)):
        return folder
    named = folder
    while _GENERAL.fullmatch(named.name) and len(named.parts) > 2:
        named = named.parent
    if _GENERAL.fullmatch(named.name):
        named = folder
    return named.parent if len(named.parts) > 2 else named


def _holds_corpora(folder: PurePosixPath) -> bool:
    """Check whether a folder without a telling name holds folders with one."""
    below = (path.name for path in Path(folder).iterdir() if path.is_dir())
    is_general = _GENERAL.fullmatch(folder.name) is not None
    return is_general and not all(map(_GENERAL.fullmatch, below))
