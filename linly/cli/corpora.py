"""`linly corpora`: the corpora there are, their records as documents, files for new shards."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.corpus_folders import CorpusFolders
from linly.cli.numbers import MAX_COUNT
from linly.cli.printed_table import print_table
from linly.config.corpus import Corpus, corpus_files, load_corpus, make_corpus, with_chat
from linly.config.source import Source
from linly.config.yaml.yaml import Origin, parse_yaml, read_yaml, write_yaml
from linly.errors import ConfigError, DataError

if TYPE_CHECKING:
    from linly.data.guessing.guess import Guess
    from linly.storage.urls import Location

DataRoot = Annotated[Path, typer.Option(envvar="LINLY_DATA", help="Folder of the shards.")]

_NAME_LIMIT = 64
_HELD_OUT = "1%"


def register(app: typer.Typer) -> None:
    """Add `linly corpora ...`."""
    corpora = typer.Typer(
        no_args_is_help=True, help="List and show corpora, and write corpus files for shards."
    )
    corpora.command("list")(list_corpora)
    corpora.command("show")(show)
    corpora.command("new")(new)
    app.add_typer(corpora, name="corpora")


def list_corpora(corpora: CorpusFolders) -> None:
    """List corpora with language, kind, format and paths of their shards below the data root."""
    rows = []
    for name, path in sorted(corpus_files(corpora).items()):
        corpus = make_corpus(name, read_yaml(path))
        paths = corpus.paths.values() if isinstance(corpus.paths, dict) else corpus.paths
        rows.append((name, corpus.language, corpus.kind, _format(corpus), ", ".join(paths)))
    print_table(("name", "language", "kind", "format", "paths"), rows)


def _format(corpus: Corpus) -> str:
    """Return the format of a corpus's shards, as far as its file says it."""
    from linly.data.reading.formats import format_of

    if corpus.format is not None:
        return corpus.format
    if isinstance(corpus.paths, dict):
        return "aligned lines"
    named = {format_of(path) or "by file name" for path in corpus.paths}
    return ", ".join(sorted(named))


def show(
    corpus: Annotated[str, typer.Argument(help="Name of a corpus, or its file.")],
    corpora: CorpusFolders,
    num: Annotated[
        int, typer.Option("-n", "--num", min=1, max=MAX_COUNT, help="Documents to show.")
    ] = 2,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Vocabulary to show tokens with: a file or a model folder.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Template to use instead of the corpus file's.")
    ] = None,
    data_root: DataRoot = Path("."),
) -> None:
    """Show a corpus's first records as documents and tokens; parts without loss are dim."""
    from linly.cli.corpora_view import open_view
    from linly.tokenization.load_tokenizer import load_tokenizer

    vocabulary = None if tokenizer is None else load_tokenizer(tokenizer)
    found = _find(corpus, corpora)
    if tokenizer is not None:
        found = with_chat(found, template, tokenizer)
    open_view(Source(found.name, found, template, data_root), vocabulary).show(num)


def new(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="GLOB", help="Quoted pattern of shards: below the data root, or a URL."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the corpus (default: from the pattern).")
    ] = None,
    corpora: Annotated[Path, typer.Option(help="Folder to write the file to.")] = Path("corpora"),
    data_root: DataRoot = Path("."),
) -> None:
    """Guess the format and fields of shards, and write a corpus file for you to check."""
    from linly.cli.corpora_view import open_view
    from linly.data.guessing.guess import is_about
    from linly.data.guessing.guess_pairs import guess_pairs
    from linly.data.inspection.first_records import fault_of_guess
    from linly.data.reading.formats import format_of
    from linly.data.reading.shards import list_shards, locate

    chosen = name or name_of(pattern)
    any_text = {"language": "en", "kind": "text", "format": "txt", "paths": [pattern]}
    shards = list_shards(_parsed(chosen, write_yaml(any_text), corpora), data_root)
    about = [shard.path for shard in shards if is_about(shard.path)]
    if len(about) == len(shards):
        about = []
    paths = [shard.path for shard in shards if shard.path not in about]
    pairs = guess_pairs(pattern, paths)
    # Line-aligned files are plain text.
    first, guess = _first_guess([(path, locate(data_root, path)) for path in paths])
    formats = {format_of(path) or "no known format" for path in paths}
    if guess.format is not None and len(formats) > 1:
        raise DataError(
            f"no corpus file is written: {pattern!r} matches files of "
            f"{', '.join(sorted(formats))}, and {first!r} is {guess.format}; pass a pattern for "
            f"files of one format"
        )
    if pairs is None:
        text = corpus_text(pattern, first, len(paths), guess, exclude=about)
    else:
        text = pairs_text(pairs, first, len(paths) // 2, guess)
    corpus = _parsed(chosen, text, corpora)
    source = Source(chosen, corpus, None, data_root)
    view = open_view(source, None)
    try:
        fault = fault_of_guess(source, list_shards(corpus, data_root))
        with view.console.capture() as shown:
            if not fault:
                view.show(1)
    except DataError as error:
        raise DataError(f"no corpus file is written: {error}") from error
    if fault:
        raise DataError(
            f"no corpus file is written, since the guess is wrong: {fault}; write {chosen}.yaml by "
            f"hand, starting from this guess:\n\n{text}"
        )
    path = corpora / f"{chosen}.yaml"
    _write_new(path, text)
    print(f"{text}\nwritten: {path}; it is a guess: check it against these records\n")
    print(shown.get(), end="")


def _first_guess(shards: Sequence[tuple[str, Location]]) -> tuple[str, Guess]:
    """Return the path of the first shard that holds records, and the guess from it."""
    from linly.data.guessing.guess import guess_corpus

    for path, location in shards:
        if guess := guess_corpus(location):
            return path, guess
    raise DataError(f"no corpus file is written: the {len(shards)} shard(s) contain no record")


def name_of(pattern: str) -> str:
    """Name a corpus by the folders of its pattern that have no wildcard, else by its files."""
    parts = [part for part in PurePosixPath(pattern).parts[:-1] if not glob.has_magic(part)]
    words = parts[-1:] or [PurePosixPath(pattern).name.split(".", 1)[0]]
    name = re.sub(r"\W+", "-", words[0]).strip("-")
    return name[:_NAME_LIMIT] or "corpus"


def corpus_text(
    pattern: str, shard: str, num_shards: int, guess: Guess, *, exclude: Sequence[str] = ()
) -> str:
    """Write a guess as a corpus file; `exclude` are files of the pattern that are not shards."""
    form: dict[str, object] = {} if guess.language is None else {"language": guess.language}
    form["kind"] = guess.kind
    if guess.format is not None:
        form["format"] = guess.format
    if guess.encoding is not None:
        form["encoding"] = guess.encoding
    form["paths"] = [pattern]
    if exclude:
        form["exclude"] = [glob.escape(path) for path in exclude]
    if guess.columns:
        form["columns"] = list(guess.columns)
    if guess.delimiter != ",":
        form["delimiter"] = guess.delimiter
    if guess.escape is not None:
        form["escape"] = guess.escape
    form["fields"] = dict(guess.fields)
    return _guessed_text(form, shard, num_shards)


def pairs_text(pairs: Mapping[str, str], shard: str, num_shards: int, guess: Guess) -> str:
    """Write line-aligned files as a corpus file; only the encoding comes from the guess."""
    form: dict[str, object] = {"kind": "parallel"}
    if guess.encoding is not None:
        form["encoding"] = guess.encoding
    form["paths"] = dict(pairs)
    return _guessed_text(form, shard, num_shards)


def _guessed_text(form: Mapping[str, object], shard: str, num_shards: int) -> str:
    count = "1 shard" if num_shards == 1 else f"{num_shards:,} shards"
    head = f"# Guessed from the first records of {shard!a}, one of {count}."
    return f"{head}\n{write_yaml({**form, 'held_out': _HELD_OUT})}"


def _find(corpus: str, folders: list[Path]) -> Corpus:
    path = Path(corpus)
    if path.suffix == ".yaml":
        return make_corpus(path.stem, read_yaml(path))
    return load_corpus(corpus, folders)


def _parsed(name: str, text: str, folder: Path) -> Corpus:
    return make_corpus(name, parse_yaml(text, Origin(f"{name}.yaml", None, folder)))


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists already and is left unchanged; pass another --name"
        ) from None
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error}") from error
