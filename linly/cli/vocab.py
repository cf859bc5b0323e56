"""`linly vocab`: character lists, extended, merged and trained vocabularies, exports, reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.corpus_folders import CorpusFolders
from linly.cli.model_options import vocabulary_argument, vocabulary_option
from linly.cli.numbers import MAX_COUNT, MAX_SEED, finite
from linly.cli.vocab_words import words
from linly.errors import ConfigError

if TYPE_CHECKING:
    from linly.cli.corpus_texts import CorpusTexts
    from linly.tokenization.growth.fertility import SourceReport

Base = Annotated[
    Path,
    vocabulary_option("Vocabulary: a .model file or a model folder."),
]
Output = Annotated[Path, typer.Option(help="File to write.")]
DataRoot = Annotated[Path, typer.Option(envvar="LINLY_DATA", help="Folder of the shards.")]


class ScoresName(str, Enum):
    """Scores of merged pieces."""

    ranked = "ranked"
    zero = "zero"


class Kind(str, Enum):
    """Training methods of a vocabulary."""

    bpe = "bpe"
    unigram = "unigram"


def register(app: typer.Typer) -> None:
    """Add `linly vocab ...`."""
    vocab = typer.Typer(
        no_args_is_help=True, help="Train, extend, merge, export and compare vocabularies."
    )
    vocab.command("characters")(characters)
    vocab.command("extend")(extend)
    vocab.command("words")(words)
    vocab.command("train")(train)
    vocab.command("merge")(merge)
    vocab.command("export")(export)
    vocab.command("report")(report)
    app.add_typer(vocab, name="vocab")


def characters(
    base: Base,
    output: Output,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Number of characters (default: all). Without --from-corpus it must not end "
            "inside a standard.",
        ),
    ] = None,
    standard: Annotated[
        list[str] | None,
        typer.Option(
            help="gb2312, punctuation, big5, gbk, jis, ksx1001, tis620 or a file; repeatable."
        ),
    ] = None,
    from_corpus: Annotated[
        list[str] | None,
        typer.Option(
            help="Take the most frequent characters of a corpus; repeatable. With --standard, "
            "only those of the standards."
        ),
    ] = None,
    *,
    corpora: CorpusFolders,
    data_root: DataRoot = Path("."),
) -> None:
    """List characters that a base vocabulary lacks, from public standards or a corpus."""
    from linly.files import publish_text
    from linly.tokenization.growth.characters import (
        DEFAULT_STANDARDS,
        by_frequency,
        check_cut,
        choose_characters,
        frequent_characters,
        standard_characters,
    )
    from linly.tokenization.growth.reachable import dead_characters
    from linly.tokenization.load_tokenizer import load_tokenizer

    tokenizer = load_tokenizer(base)
    if from_corpus:
        texts = _open(from_corpus, corpora, data_root)
        candidates: Iterable[str] = frequent_characters(texts.all_documents())
        _warn(texts)
        if standard:
            candidates = by_frequency(standard, candidates)
    else:
        candidates = standard_characters(standard or DEFAULT_STANDARDS)
    known = {*map(tokenizer.readable, range(tokenizer.vocab_size))}
    listed = choose_characters(candidates, known, count=None)
    dead = dead_characters(tokenizer, listed)
    if not from_corpus:
        alive = [character for character in listed if character not in dead]
        check_cut(standard or DEFAULT_STANDARDS, alive, count)
    chosen = choose_characters(listed, dead, count=count)
    publish_text(output, "".join(f"{character}\n" for character in chosen))
    print(
        f"{len(chosen):,} characters that {base} lacks -> {output} "
        f"({tokenizer.vocab_size:,} + {len(chosen):,} = {tokenizer.vocab_size + len(chosen):,})"
    )
    if dead:
        first, reason = next(iter(dead.items()))
        print(
            f"left out, since no text produces them: {len(dead):,}; the first is {first!r}: "
            f"{reason}"
        )


def extend(
    base: Base,
    characters: Annotated[Path, typer.Option(help="File with one character per line.")],
    output: Annotated[
        Path, typer.Option(help="A .model file to write; for a byte-level vocabulary a new folder.")
    ],
    pad: Annotated[
        bool, typer.Option("--pad", help="Append a padding piece as well (sentencepiece).")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Leave out characters that would change others (byte-level only)."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all changes as JSON.")] = False,
) -> None:
    """Append characters to a vocabulary.

    A sentencepiece vocabulary gains pieces: any text without an added character is segmented as
    before. A byte-level vocabulary gains merges after all others. The same holds there, except for
    characters that share their first bytes with an added one of three or more tokens. The command
    tries all of Unicode and lists those characters; --exact leaves out the ones that cause them.
    """
    from linly.cli.vocab_extend import extend_file, extend_folder
    from linly.tokenization.byte_level import ByteLevelTokenizer
    from linly.tokenization.growth.characters import read_characters
    from linly.tokenization.load_tokenizer import load_tokenizer
    from linly.tokenization.sentence_piece import SentencePieceTokenizer

    old, wanted = load_tokenizer(base), read_characters(characters)
    if isinstance(old, ByteLevelTokenizer):
        if pad:
            raise ConfigError("--pad: a byte-level vocabulary pads with an existing token")
        extend_folder(old, base, wanted, output, exact=exact, as_json=as_json)
    else:
        assert isinstance(old, SentencePieceTokenizer)
        extend_file(old, wanted, output, pad=pad, as_json=as_json)


def train(
    corpus: Annotated[list[str], typer.Option(help="Name of a corpus; repeatable.")],
    size: Annotated[
        int,
        typer.Option(
            min=300, max=1 << 24, help="Number of pieces, including special and byte pieces."
        ),
    ],
    output: Output,
    corpora: CorpusFolders,
    data_root: DataRoot = Path("."),
    kind: Annotated[Kind, typer.Option(help="Training method.")] = Kind.bpe,
    coverage: Annotated[
        float,
        typer.Option(
            min=0.5, max=1, callback=finite, help="Fraction of characters that get a piece."
        ),
    ] = 0.9995,
    byte_fallback: Annotated[
        bool, typer.Option(help="Unknown characters become bytes, not <unk>.")
    ] = True,
    sample_mb: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Size of the sample, held in memory, in MB.")
    ] = 64,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the sample.")] = 2023,
) -> None:
    """Train a sentencepiece vocabulary on a seeded sample of corpora."""
    from linly.files import publish
    from linly.tokenization.growth.new_vocabulary import (
        VocabularySpec,
        sample_texts,
        train_vocabulary,
    )
    from linly.tokenization.sentence_piece import SentencePieceTokenizer

    texts = _open(corpus, corpora, data_root)
    sample = sample_texts(texts.all_documents(), limit_bytes=sample_mb * 1_000_000, seed=seed)
    _warn(texts)
    spec = VocabularySpec(size, kind.value, coverage, byte_fallback)
    tokenizer = SentencePieceTokenizer(train_vocabulary(sample, spec), origin=str(output))
    publish(output, tokenizer.model_bytes)
    print(f"{tokenizer.vocab_size:,} pieces from {len(sample):,} documents: {output}")


def merge(
    base: Annotated[Path, vocabulary_argument("Vocabulary that keeps its ids.")],
    other: Annotated[Path, vocabulary_argument("Vocabulary whose pieces are appended.")],
    output: Output,
    scores: Annotated[
        ScoresName,
        typer.Option(help="Scores of added pieces: zero (as published), ranked (exports exactly)."),
    ] = ScoresName.ranked,
    pad: Annotated[bool, typer.Option("--pad", help="Append a padding piece as well.")] = False,
) -> None:
    """Append another vocabulary's pieces to a base, as Chinese-LLaMA does."""
    from linly.files import publish
    from linly.tokenization.growth.extend import add_pad_piece
    from linly.tokenization.growth.merge import Scores, merge_vocabularies
    from linly.tokenization.sentence_piece import SentencePieceTokenizer

    old, theirs = SentencePieceTokenizer.load(base), SentencePieceTokenizer.load(other)
    merged = merge_vocabularies(old, theirs, Scores(scores.value))
    new = SentencePieceTokenizer(merged.model_bytes, origin=str(output))
    if pad:
        new = SentencePieceTokenizer(add_pad_piece(new), origin=str(output))
    publish(output, new.model_bytes)
    print(
        f"{old.vocab_size:,} + {theirs.vocab_size:,} - {merged.num_shared:,} shared"
        f"{' + 1 padding' if pad else ''} = {new.vocab_size:,} pieces: {output}"
    )
    if merged.unreachable:
        print(
            f"{len(merged.unreachable):,} of {merged.num_added:,} new pieces cannot be reached; "
            f"the first are {', '.join(map(repr, merged.unreachable[:5]))}"
        )


def export(
    tokenizer: Annotated[Path, vocabulary_option("A .model file or a model folder.")],
    output: Annotated[Path, typer.Option(help="Output folder; may exist.")],
    verify: Annotated[
        list[Path] | None, typer.Option(help="Text file to compare on, line by line; repeatable.")
    ] = None,
    verify_corpus: Annotated[
        list[str] | None, typer.Option(help="Corpus to compare on; repeatable.")
    ] = None,
    *,
    corpora: CorpusFolders,
    data_root: DataRoot = Path("."),
) -> None:
    """Write a Hugging Face tokenizer that returns sentencepiece's ids on every text."""
    from itertools import chain

    from linly.files import made
    from linly.tokenization.hugging_face.tokenizer_export import (
        compare,
        export_tokenizer,
        hugging_face_json,
        why_no_candidate,
        why_not_exact,
    )
    from linly.tokenization.hugging_face.torture import torture_texts
    from linly.tokenization.sentence_piece import SentencePieceTokenizer

    vocabulary = SentencePieceTokenizer.load(tokenizer)

    def texts() -> Iterator[str]:
        for path in verify or []:
            yield from _lines(path)
        if verify_corpus:
            yield from _open(verify_corpus, corpora, data_root).all_documents()

    reason = why_not_exact(vocabulary)
    if reason is None:
        source = tokenizer if tokenizer.is_dir() else None
        with made(output):
            done = export_tokenizer(vocabulary, output, source=source, texts=texts())
        reason = done.reason
        if reason is None:
            print(f"same ids as sentencepiece on {done.num_verified:,} texts: {output}")
            return
    elif why_no_candidate(vocabulary) is None:
        tried = chain(torture_texts(vocabulary.pieces()), texts())
        found = compare(vocabulary, hugging_face_json(vocabulary), tried)
        reason += f"; tried anyway: {found.complaint() or 'no text differs'}"
    raise ConfigError(f"tokenizer {tokenizer}: no exact tokenizer.json exists: {reason}")


def report(
    base: Base,
    tokenizer: Annotated[Path, vocabulary_option("The new vocabulary.")],
    corpus: Annotated[list[str], typer.Option(help="Name of a corpus; repeatable.")],
    corpora: CorpusFolders,
    data_root: DataRoot = Path("."),
    max_documents: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Documents of each corpus (default: all)."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Page to draw a chart on: FILE.html.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every document that changed.")
    ] = False,
) -> None:
    """Compare two vocabularies on corpora: fertility, byte fallback, unchanged documents."""
    from itertools import islice

    from linly.cli.vocab_report import print_json, show
    from linly.tokenization.growth.fertility import MAX_EXAMPLES, compare_vocabularies
    from linly.tokenization.load_tokenizer import load_tokenizer
    from linly.tokenization.subtokens import check_grows

    old, new = load_tokenizer(base), load_tokenizer(tokenizer)
    check_grows(old, new)
    texts = _open(corpus, corpora, data_root)
    reports = [
        compare_vocabularies(
            name,
            islice(texts.located(name), max_documents),
            old,
            new,
            max_touched=None if as_json else MAX_EXAMPLES,
        )
        for name in corpus
    ]
    _warn(texts)
    if as_json:
        print_json(reports)
    else:
        show(reports)
    if plot is not None:
        _draw(reports, plot)


def _draw(reports: Sequence[SourceReport], path: Path) -> None:
    try:
        from linly.monitor.pages.fertility_page import write_fertility_page
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--plot draws with plotly, and {error.name} is not installed: "
            f"pip install 'linly[monitor]'"
        ) from error
    write_fertility_page(reports, path)


def _open(names: list[str], folders: list[Path], data_root: Path) -> CorpusTexts:
    from linly.cli.corpus_texts import CorpusTexts

    return CorpusTexts.open(names, folders, data_root)


def _warn(texts: CorpusTexts) -> None:
    warning = texts.warning()
    if warning:
        typer.echo(f"warning: {warning}", err=True)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:
            for line in stream:
                yield line.removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from error
