"""Drafts of corpus files for shards: one per folder, kind and language, checked on documents.

    patterns --list--> files --by folder--> groups --guess--> drafts

`draft_corpora` is the whole way, for the commands that write corpus files.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linly.config.corpus import Corpus, make_corpus
from linly.config.sections.languages import UNKNOWN_LANGUAGE
from linly.config.source import Source
from linly.config.yaml.yaml import Origin, parse_yaml, write_yaml
from linly.data.guessing.file_groups import FileGroup, group_files
from linly.data.guessing.guess import Guess, guess_corpus, is_about
from linly.data.guessing.guess_fields import NUM_RECORDS
from linly.data.guessing.guess_language import language_shares
from linly.data.guessing.guess_pairs import language_ending, pair_files
from linly.data.guessing.shard_places import (
    below_data_root,
    covering_patterns,
    extended_name,
    file_name,
    free_name,
    name_corpus,
    named_folder,
    split_of,
)
from linly.data.inspection.first_records import (
    NUM_CHECKED,
    fault_of_guess,
    first_documents,
    supervised_text,
)
from linly.data.reading.formats import format_of
from linly.data.reading.shards import ShardReader, list_shards, locate
from linly.data.types import Document, Shard
from linly.errors import DataError

UNDETERMINED = "und"
"""Language code of ISO 639 for text in an unknown language."""

_HELD_OUT = "1%"
_MAX_SHARES = 4


@dataclass(frozen=True, slots=True)
class CorpusDraft:
    """A guessed corpus file, whose first records yield documents.

    Attributes:
        name: Name of the corpus, the stem of its file; unique among drafts and taken names.
        text: Content of the file.
        corpus: Corpus of the file; its language is `und` where the file says `?`.
        shards: Shards that it reads.
        record: First record with all its fields, also those that the file does not use.
        document: First document.
        remarks: Sentences for the author of the file, such as what is not clear.
    """

    name: str
    text: str
    corpus: Corpus
    shards: tuple[Shard, ...]
    record: Mapping[str, Any]
    document: Document
    remarks: tuple[str, ...]

    @property
    def language(self) -> str:
        """Language as the file has it: both for pairs (`en-zh`), `?` if it is not clear."""
        return self.corpus.language.replace(UNDETERMINED, UNKNOWN_LANGUAGE)

    def named(self, name: str) -> CorpusDraft:
        """Return the draft under another name.

        Raises:
            ConfigError: If a corpus cannot have this name.
        """
        corpus = _parsed(name, write_yaml(self.corpus.file_form()))
        return replace(self, name=name, corpus=corpus)


@dataclass(frozen=True, slots=True)
class CorpusDrafts:
    """Drafts of corpus files for some shards.

    Attributes:
        data_root: Folder that the drafts' paths are relative to.
        drafts: One draft or more.
        left_out: Files that no draft reads, with the reason.
    """

    data_root: Path
    drafts: tuple[CorpusDraft, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Listing:
    """Files of one corpus or more, of one split, named after the same folder.

    Attributes:
        pattern: Pattern that matches exactly these files; None if several do, or any depth.
        files: Files, sorted.
        about: Files that the pattern matches too, and that describe the others.
    """

    pattern: str | None
    files: tuple[str, ...]
    about: tuple[str, ...] = ()


def draft_corpora(
    written: Sequence[str], data_root: Path | None, *, taken: Iterable[str] = ()
) -> CorpusDrafts:
    """Draft corpus files for shards.

    Files that one corpus file can read, in one language, are one corpus. A list of files, a folder
    and a pattern with `**` are divided by folders and splits first; folders whose names say
    nothing, such as `train` and `chunk1`, belong to the one above.

    Args:
        written: Patterns, files, folders and URLs, as a user types them.
        data_root: Folder of the shards; None chooses the working directory if it holds them all,
            else a folder that does.
        taken: Names that the drafts must not have.

    Raises:
        DataError: If no file matches, or none of them can be used; says why.
        ConfigError: If `data_root` does not hold all files.
    """
    places = below_data_root(written, data_root)
    left_out: dict[str, str] = {}
    drafts: list[CorpusDraft] = []
    for listing in _without_about(_list_files(places.patterns, places.data_root)):
        drafts += _draft(listing, places.data_root, left_out)
    if not drafts:
        path, reason = next(iter(left_out.items()))
        raise DataError(reason if path in reason else f"{path!r}: {reason}")
    return CorpusDrafts(places.data_root, _with_free_names(drafts, set(taken)), left_out)


def _list_files(patterns: Sequence[str], data_root: Path) -> list[_Listing]:
    by_place: dict[tuple[str, str | None], dict[str | None, set[str]]] = {}
    for pattern in patterns:
        any_text = {"language": UNDETERMINED, "kind": "text", "format": "txt", "paths": [pattern]}
        corpus = _parsed(name_corpus(pattern), write_yaml(any_text))
        whole = pattern if glob.has_magic(pattern) and "**" not in pattern else None
        for shard in list_shards(corpus, data_root):
            place = named_folder(whole or shard.path), split_of(whole or shard.path)
            by_place.setdefault(place, {}).setdefault(whole, set()).add(shard.path)
    return [
        _Listing(
            pattern=next(iter(by_pattern)) if len(by_pattern) == 1 else None,
            files=tuple(sorted(set().union(*by_pattern.values()))),
        )
        for by_pattern in by_place.values()
    ]


def _without_about(listings: Sequence[_Listing]) -> list[_Listing]:
    """Leave out files that describe others, such as README.md, unless there are no others."""
    if all(is_about(path) for listing in listings for path in listing.files):
        return list(listings)
    divided = [
        replace(
            listing,
            files=tuple(path for path in listing.files if not is_about(path)),
            about=tuple(path for path in listing.files if is_about(path)),
        )
        for listing in listings
    ]
    return [listing for listing in divided if listing.files]


def _draft(listing: _Listing, data_root: Path, left_out: dict[str, str]) -> list[CorpusDraft]:
    """Draft the corpora of a listing; add the files that cannot be used to `left_out`."""
    pairs, crowded = pair_files(listing.files)
    for stem in crowded:
        names = ", ".join(stem)
        reason = f"line-aligned files have two languages, found {len(stem)}: pass two of {names}"
        left_out |= dict.fromkeys(stem, reason)
    paired = {path for pair in pairs for paths in pair.values() for path in paths}
    groups, unusable = group_files(
        [path for path in listing.files if path not in paired and path not in left_out], data_root
    )
    left_out |= unusable
    is_whole = len(groups) + len(pairs) == 1
    drafts = []
    for pair in pairs:
        try:
            drafts += _draft_pairs(pair, data_root)
        except DataError as error:
            left_out |= {path: str(error) for paths in pair.values() for path in paths}
    for group in groups:
        if is_whole and listing.pattern is not None:
            patterns = [listing.pattern]
            others = [path for path in listing.files if path not in group.files]
            exclude = sorted([*listing.about, *others])
        else:
            patterns, exclude = covering_patterns(group.files, data_root), []
        try:
            drafts.append(_draft_group(group, patterns, exclude, data_root))
        except DataError as error:
            left_out |= dict.fromkeys(group.files, str(error))
    return drafts


def _draft_group(
    group: FileGroup, patterns: Sequence[str], exclude: Sequence[str], data_root: Path
) -> CorpusDraft:
    guess = group.guess
    form: dict[str, object] = {} if guess.language is None else {"language": guess.language}
    form["kind"] = guess.kind
    if guess.format is not None:
        form["format"] = guess.format
    if guess.encoding is not None:
        form["encoding"] = guess.encoding
    form["paths"] = list(patterns)
    if exclude:
        form["exclude"] = [glob.escape(path) for path in exclude]
    if guess.columns:
        form["columns"] = list(guess.columns)
    if guess.delimiter != ",":
        form["delimiter"] = guess.delimiter
    if guess.escape is not None:
        form["escape"] = guess.escape
    form["fields"] = dict(guess.fields)
    name = name_corpus(patterns[0])
    return _checked(name, form, group.first, len(group.files), guess, data_root)


def _draft_pairs(pair: Mapping[str, tuple[str, ...]], data_root: Path) -> list[CorpusDraft]:
    """Draft a corpus of line-aligned files: one if a pattern per language covers them."""
    patterns = {language: covering_patterns(files, data_root) for language, files in pair.items()}
    if any(len(found) > 1 for found in patterns.values()):
        alone = [
            {language: (file,) for language, file in zip(pair, files, strict=True)}
            for files in zip(*pair.values(), strict=True)
        ]
        return [draft for one in alone for draft in _draft_pairs(one, data_root)]
    form: dict[str, object] = {"kind": "parallel"}
    first = next(iter(pair.values()))[0]
    if (guess := guess_corpus(locate(data_root, first))) is None:
        raise DataError("it contains no record")
    if guess.encoding is not None:
        form["encoding"] = guess.encoding
    form["paths"] = {language: found[0] for language, found in patterns.items()}
    name = name_corpus(first)
    num_shards = len(next(iter(pair.values())))
    return [_checked(name, form, first, num_shards, guess, data_root)]


def _checked(
    name: str,
    form: Mapping[str, object],
    first: str,
    num_shards: int,
    guess: Guess,
    data_root: Path,
) -> CorpusDraft:
    """Return a draft after reading its first records.

    Raises:
        DataError: If they do not yield documents.
    """
    if (split := split_of(first)) is not None:
        name = extended_name(name, split)
    count = "1 shard" if num_shards == 1 else f"{num_shards:,} shards"
    head = f"# Guessed from the first records of {first!a}, one of {count}.\n"
    text = head + write_yaml({**form, "held_out": _HELD_OUT})
    corpus = _parsed(name, write_yaml(_with_known_languages(form)))
    source = Source(name, corpus, None, data_root)
    shards = list_shards(corpus, data_root)
    if fault := fault_of_guess(source, shards):
        raise DataError(
            f"the guess is wrong: {fault}; write {name}.yaml by hand, starting from this guess:"
            f"\n\n{text}"
        )
    corpus = _parsed(name, write_yaml({**_with_known_languages(form), "held_out": _HELD_OUT}))
    remarks = []
    if UNDETERMINED in corpus.language.split("-"):
        documents = first_documents(source, shards, NUM_RECORDS)
        shares = language_shares(map(supervised_text, documents))
        found = ", ".join(f"{code} {share:.0%}" for code, share in [*shares.items()][:_MAX_SHARES])
        remarks.append(
            f"the language of its texts is not clear ({found or 'no letters'}): write its code, "
            f"such as en or zh, in place of {UNKNOWN_LANGUAGE!r}"
        )
    ending = language_ending(first)
    if corpus.kind == "text" and ending is not None:
        remarks.append(
            f"it is named .{ending}, but no file of another language is beside it: its lines are "
            f"read as documents, not as one side of pairs"
        )
    elif corpus.kind == "text" and (guess.format or format_of(first)) == "txt":
        remarks.append("each of its lines is a document")
    if split is not None:
        remarks.append(
            f"it is named as a {split} split: to evaluate on it, write its paths as `held_out` of "
            f"the corpus that it belongs to, in place of this file"
        )
    (document, *_) = first_documents(source, shards, NUM_CHECKED)
    record = guess.record
    if isinstance(corpus.paths, dict):  # the guess saw one side
        raw = next(ShardReader(corpus, data_root).read(shards[0]))
        record = raw.value or {}
    return CorpusDraft(name, text, corpus, shards, record, document, tuple(remarks))


def _with_known_languages(form: Mapping[str, object]) -> dict[str, object]:
    """Replace the languages of a form that are not clear, so that a corpus can be made of it."""
    known = dict(form)
    if known.get("language") == UNKNOWN_LANGUAGE:
        known["language"] = UNDETERMINED
    if isinstance(fields := known.get("fields"), Mapping):
        known["fields"] = {
            UNDETERMINED if role == UNKNOWN_LANGUAGE else role: field
            for role, field in fields.items()
        }
    return known


def _with_free_names(drafts: Sequence[CorpusDraft], taken: set[str]) -> tuple[CorpusDraft, ...]:
    """Name drafts of one folder apart: by their only file, their language or their kind."""
    named = []
    for draft in drafts:
        alike = [other.corpus for other in drafts if other.name == draft.name]
        file = [file_name(shard.path) for shard in draft.shards if len(draft.shards) == 1]
        file = [name for name in file if name]
        candidates = [*file, draft.name] if len(alike) > 1 else [draft.name, *file]
        if len({corpus.language for corpus in alike}) > 1:
            candidates.insert(len(file), extended_name(draft.name, draft.corpus.language))
        if len({corpus.kind for corpus in alike}) > 1:
            candidates.insert(-1, extended_name(draft.name, draft.corpus.kind))
        name = free_name(candidates, taken)
        taken.add(name)
        named.append(draft.named(name))
    return tuple(named)


def _parsed(name: str, text: str) -> Corpus:
    return make_corpus(name, parse_yaml(text, Origin(f"{name}.yaml", None, Path("."))))
