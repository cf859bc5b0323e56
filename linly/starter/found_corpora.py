"""Finds the corpora of a run: those that a user names, or the public ones below the data root.

patterns, corpus files -> FoundCorpora (corpus, shards, text of its file)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from linly.config.corpus import Corpus, make_corpus
from linly.config.yaml.yaml import Origin, parse_yaml, read_yaml
from linly.data.guessing.corpus_drafts import CorpusDraft, draft_corpora
from linly.data.reading.shards import list_shards
from linly.data.types import Shard
from linly.errors import ConfigError, DataError
from linly.storage.urls import is_url

_SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True)
class FoundCorpus:
    """A corpus that has shards.

    Attributes:
        corpus: Corpus of the file.
        shards: Its shards.
        text: Content of the file.
        place: Place of the file if it exists already.
        is_guess: Whether the file was guessed from the shards.
        remarks: Sentences about the guess.
    """

    corpus: Corpus
    shards: tuple[Shard, ...]
    text: str
    place: Path | None
    is_guess: bool
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the corpus, the stem of its file."""
        return self.corpus.name

    def with_line(self, key: str, value: str, why: str) -> FoundCorpus:
        """Set a key of a guessed corpus file, with a comment; the corpus is read from the text."""
        assert self.is_guess
        line = f"{key}: {value}  # {why}"
        lines = [line if one.startswith(f"{key}:") else one for one in self.text.splitlines()]
        text = "\n".join(lines if line in lines else [*lines, line]) + "\n"
        origin = Origin(f"{self.name}{_SUFFIX}", None, Path.cwd())
        corpus = make_corpus(self.name, parse_yaml(text, origin))
        return replace(self, text=text, corpus=corpus)


@dataclass(frozen=True, slots=True)
class FoundCorpora:
    """Corpora that have shards.

    Attributes:
        data_root: Folder that their patterns are relative to.
        corpora: The corpora, in the order in which they were named.
        left_out: Files that no corpus reads, with the reason.
    """

    data_root: Path
    corpora: tuple[FoundCorpus, ...]
    left_out: Mapping[str, str]


def find_corpora(written: Sequence[str], data_root: Path | None) -> FoundCorpora:
    """Find the corpora that a user names.

    Args:
        written: Patterns of shards, folders, files and URLs; and corpus files (`*.yaml`).
        data_root: Folder of the shards; None chooses the working directory, or a folder that holds
            them all.

    Raises:
        DataError: If a pattern matches no file, or its files cannot be read.
        ConfigError: If a corpus file is invalid, or `data_root` does not hold all files.
    """
    files = [Path(one) for one in written if one.endswith(_SUFFIX) and not is_url(one)]
    patterns = [one for one in written if Path(one) not in files]
    if files and data_root is None:
        data_root = Path(".")  # the patterns of corpus files are below it
    given = [_of_file(path, data_root or Path(".")) for path in files]
    names = [one.name for one in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"--data: two corpus files are named {twice[0]}; rename one of them")
    if not patterns:
        return FoundCorpora(data_root or Path("."), tuple(given), {})
    drafts = draft_corpora(patterns, data_root, taken=names)
    found = (*given, *map(_of_draft, drafts.drafts))
    return FoundCorpora(drafts.data_root, found, drafts.left_out)


def find_public_corpora(folder: Path, data_root: Path) -> FoundCorpora:
    """Find the corpora of a folder of corpus files whose shards are below the data root.

    Args:
        folder: Folder of corpus files; those with URLs are passed over, since they are not local.
        data_root: Folder of the shards.
    """
    found = tuple(_present(sorted(folder.glob(f"*{_SUFFIX}")), data_root))
    return FoundCorpora(data_root, found, {})


def _present(files: Sequence[Path], data_root: Path) -> Iterator[FoundCorpus]:
    for path in files:
        corpus = make_corpus(path.stem, read_yaml(path))
        patterns = corpus.paths.values() if isinstance(corpus.paths, Mapping) else corpus.paths
        if any(map(is_url, patterns)):
            continue
        try:
            shards = list_shards(corpus, data_root)
        except DataError:
            continue
        yield FoundCorpus(corpus, shards, _read(path), None, is_guess=False)


def _of_file(path: Path, data_root: Path) -> FoundCorpus:
    corpus = make_corpus(path.stem, read_yaml(path))
    return FoundCorpus(corpus, list_shards(corpus, data_root), _read(path), path, is_guess=False)


def _of_draft(draft: CorpusDraft) -> FoundCorpus:
    return FoundCorpus(
        draft.corpus, draft.shards, draft.text, None, is_guess=True, remarks=draft.remarks
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
