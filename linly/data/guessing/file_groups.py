"""Groups files by the corpus file that can read them, and by the language of their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from linly.config.corpus import LITERAL_ROLES
from linly.config.sections.languages import UNKNOWN_LANGUAGE
from linly.data.guessing.guess import Guess, guess_corpus
from linly.data.reading.formats import format_of
from linly.data.reading.records import parse_field, paths_of
from linly.data.reading.shards import locate
from linly.errors import DataError

NUM_EXAMINED = 32
"""Number of files to look into; if all of them are alike, the others are taken to be too."""


@dataclass(slots=True)
class FileGroup:
    """Files that one corpus file can read.

    Attributes:
        guess: Guess that reads them all.
        first: File with the first records.
        files: All files, in the given order.
    """

    guess: Guess
    first: str
    files: list[str] = field(default_factory=list)

    def accepts(self, path: str, guess: Guess) -> bool:
        """Check whether the guess of a file differs from the group's in optional fields at most."""
        languages = {self.guess.language, guess.language} - {UNKNOWN_LANGUAGE}
        return len(languages) <= 1 and _form(path, guess) == _form(self.first, self.guess)

    def add(self, path: str, guess: Guess) -> None:
        """Add a file; the group's guess takes over what it knows better."""
        self.files.append(path)
        richest = max(self.guess, guess, key=_num_paths)
        languages = (self.guess.language, guess.language)
        language = next((one for one in languages if one != UNKNOWN_LANGUAGE), UNKNOWN_LANGUAGE)
        self.guess = replace(self.guess, fields=richest.fields, language=language)


def group_files(paths: Sequence[str], data_root: Path) -> tuple[list[FileGroup], dict[str, str]]:
    """Group files by the guesses from their first records.

    Files of one format without any record join the group of the others.

    Returns:
        The groups in the order of their first files, and the files that cannot be used, with the
        reason.
    """
    step = -(-len(paths) // NUM_EXAMINED) if paths else 1
    groups, unusable = _grouped(paths[::step], data_root)
    if len(groups) == 1 and not unusable:
        groups[0].files = list(paths)
        return groups, unusable
    return _grouped(paths, data_root)


def _grouped(paths: Sequence[str], data_root: Path) -> tuple[list[FileGroup], dict[str, str]]:
    groups: list[FileGroup] = []
    empty: list[str] = []
    unusable: dict[str, str] = {}
    for path in paths:
        try:
            guess = guess_corpus(locate(data_root, path))
        except DataError as error:
            unusable[path] = str(error)
            continue
        if guess is None:
            empty.append(path)
            continue
        group = next((one for one in groups if one.accepts(path, guess)), None)
        if group is None:
            groups.append(group := FileGroup(guess, path))
        group.add(path, guess)
    for path in empty:
        group = next((one for one in groups if format_of(path) == format_of(one.first)), None)
        if group is None:
            unusable[path] = "it contains no record"
        else:
            group.files.append(path)
    return groups, unusable


def _form(path: str, guess: Guess) -> tuple[object, ...]:
    """Return the parts of a guess that are equal for files of one group."""
    required = {role: _paths(role, guess.fields[role], optional=False) for role in guess.fields}
    fields = {role: paths for role, paths in required.items() if paths}
    name = guess.format or format_of(path)
    return (
        name, guess.encoding, guess.columns, guess.kind, guess.delimiter, guess.escape, fields
    )  # fmt: skip


def _num_paths(guess: Guess) -> int:
    return sum(len(_paths(role, form, optional=True)) for role, form in guess.fields.items())


def _paths(role: str, written: str, *, optional: bool) -> tuple[str, ...]:
    """Return the paths of a field that a record must have, or all of them; a mark as it is."""
    if role in LITERAL_ROLES:
        return (written,)
    paths = paths_of(parse_field(written))
    return tuple(path.path for path in paths if optional or not path.optional)
