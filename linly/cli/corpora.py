"""`linly corpora`: list and show corpora; `new` and `scan` are in modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linly.cli.corpora_new import new
from linly.cli.corpora_scan import scan
from linly.cli.corpus_folders import CorpusFolders
from linly.cli.model_options import vocabulary_option
from linly.cli.named_corpora import DataRoot, find_corpus
from linly.cli.numbers import MAX_COUNT
from linly.cli.printed_table import print_table
from linly.config.corpus import Corpus, corpus_files, make_corpus, with_chat
from linly.config.source import Source
from linly.config.yaml.yaml import read_yaml
from linly.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add `linly corpora ...`."""
    corpora = typer.Typer(
        no_args_is_help=True, help="List, show and scan corpora, and write corpus files for shards."
    )
    corpora.command("list")(list_corpora)
    corpora.command("show")(show)
    corpora.command("new")(new)
    corpora.command("scan")(scan)
    app.add_typer(corpora, name="corpora")


def list_corpora(corpora: CorpusFolders) -> None:
    """List corpora with language, kind, format and paths of their shards below the data root.

    Files that cannot be used are named after the others, and the exit code is 1.
    """
    rows, refused = [], []
    for name, path in sorted(corpus_files(corpora).items()):
        try:
            corpus = make_corpus(name, read_yaml(path))
        except ConfigError as error:
            refused.append(str(error))
            continue
        paths = corpus.paths.values() if isinstance(corpus.paths, dict) else corpus.paths
        rows.append((name, corpus.language, corpus.kind, _format(corpus), ", ".join(paths)))
    print_table(("name", "language", "kind", "format", "paths"), rows)
    if refused:
        raise ConfigError("\n".join(refused))


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
        Path | None, vocabulary_option("Vocabulary to show tokens with: a file or a model folder.")
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
    found = find_corpus(corpus, corpora)
    if tokenizer is not None:
        found = with_chat(found, template, tokenizer)
    open_view(Source(found.name, found, template, data_root), vocabulary).show(num)
