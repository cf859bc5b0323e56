"""`linly vocab words`: learn words of a script from corpora and append them to a vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.corpus_folders import CorpusFolders
from linly.cli.model_options import vocabulary_option
from linly.cli.numbers import MAX_COUNT as MAX_TIMES
from linly.cli.numbers import MAX_SEED, finite
from linly.errors import ConfigError
from linly.tokenization.words.script_names import SCRIPT_NAMES

if TYPE_CHECKING:
    from linly.tokenization.tokenizer import Tokenizer
    from linly.tokenization.words.learn_words import LearnedWords
    from linly.tokenization.words.scripts import Script
    from linly.tokenization.words.word_count import CountPoint

MAX_WORDS = 1 << 20
_MAX_SHOWN = 12
_BAR_WIDTH = 40
_SEQUENCE_LENGTH = 2048
"""Row of a curriculum without a recipe: the count of tokens hardly depends on it."""

_UNKNOWN_WARNING = 0.02
"""Fraction of characters without a token of their own from which the command warns."""

ScriptChoice = Enum("ScriptChoice", {name: name for name in SCRIPT_NAMES}, type=str)  # type: ignore[misc]


Count = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Number of words to append; auto chooses it by --min-gain and --min-seen.",
    ),
]
Output = Annotated[
    Path, typer.Option(help="A .model file to write; for a byte-level vocabulary a new folder.")
]
SampleSize = Annotated[
    int,
    typer.Option(
        min=1,
        max=1 << 20,
        help="Size of the sample, held in memory, in MB: an equal part of each corpus.",
    ),
]
PlannedRun = Annotated[
    Path | None,
    typer.Option(help="Curriculum or recipe of the run, for --count auto."),
]
LeastGain = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        callback=finite,
        help="With --count auto: fraction of tokens that the last 1,000 words save at least.",
    ),
]
LeastSeen = Annotated[
    int,
    typer.Option(
        min=1,
        max=MAX_TIMES,
        help="With --count auto: times that each word is expected in the run at least.",
    ),
]
CharacterFile = Annotated[
    Path | None,
    typer.Option(help="File of the words' characters, one per line, instead of a script."),
]
DataRoot = Annotated[Path, typer.Option(envvar="LINLY_DATA", help="Folder of the shards.")]
ScriptOption = Annotated[ScriptChoice | None, typer.Option(help="Script of the words (Unicode).")]


def words(
    base: Annotated[
        Path, vocabulary_option("Vocabulary that has the script's characters already.")
    ],
    corpus: Annotated[list[str], typer.Option(help="Name of a corpus to learn from; repeatable.")],
    count: Count,
    output: Output,
    corpora: CorpusFolders,
    data_root: DataRoot = Path("."),
    script: ScriptOption = None,
    characters: CharacterFile = None,
    sample_mb: SampleSize = 64,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the sample.")] = 2023,
    curriculum: PlannedRun = None,
    min_gain: LeastGain = 0.005,
    min_seen: LeastSeen = 100,
) -> None:
    """Learn words of one script and append them to a vocabulary (continued BPE).

    The new merges apply after all old ones. A text without two characters of the script side by
    side keeps every id, which is also checked on the sample and on hard strings.
    """
    from linly.tokenization.load_tokenizer import load_tokenizer
    from linly.tokenization.words.learn_words import learn_some_words, learn_words

    number = _number(count)
    if number is None and curriculum is None:
        raise ConfigError("--count auto: pass the run's --curriculum, for how often words occur")
    old, chosen = load_tokenizer(base), _script(script, characters)
    texts = _sample(corpus, corpora, data_root, sample_mb=sample_mb, seed=seed)
    _warn_of_unknown(old, chosen, texts)
    is_terminal = sys.stderr.isatty()
    if number is not None:
        learned = learn_words(old, chosen, texts, number, show_progress=is_terminal)
    else:
        assert curriculum is not None
        learned, points = learn_some_words(
            old,
            chosen,
            texts,
            least_gain=min_gain,
            min_seen=min_seen,
            run_tokens=_planned_tokens(curriculum, corpus),
            show_progress=is_terminal,
        )
        _show_counts(points)
    _write(learned, base, output)
    _show(old, learned, texts, output)


def _number(count: str) -> int | None:
    """The number of words; None for auto."""
    if count == "auto":
        return None
    if not count.isdecimal() or not 1 <= int(count) <= MAX_WORDS:
        raise ConfigError(f"--count: found {count!r}, allowed: auto, or 1 to {MAX_WORDS:,}")
    return int(count)


def _planned_tokens(file: Path, corpora: list[str]) -> int:
    """Tokens of these corpora in a run.

    Raises:
        ConfigError: If it has none of them.
    """
    from linly.cli.plan import load_plan_file
    from linly.curriculum.run_plan import make_plan

    recipe, curriculum = load_plan_file(file, [])
    length = recipe.data.sequence_length if recipe is not None else _SEQUENCE_LENGTH
    named = {
        name
        for group in curriculum.mixture.values()
        for name, source in group.sources.items()
        if source.corpus in corpora
    }
    plan = make_plan(curriculum, sequence_length=length)
    tokens = sum(source.tokens for source in plan.sources if source.name in named)
    if not tokens:
        raise ConfigError(
            f"--curriculum {file}: no source reads one of the corpora {', '.join(corpora)}; pass "
            f"the curriculum of the run"
        )
    return tokens


def _show_counts(points: tuple[CountPoint, ...]) -> None:
    """Print the fertility by count as a bar chart."""
    most = max(point.tokens_per_character for point in points)
    print("words  tokens per character (of the sample's measured tenth)")
    for point in points:
        bar = "#" * round(_BAR_WIDTH * point.tokens_per_character / most)
        print(f"{point.count:>6,}  {point.tokens_per_character:.3f}  {bar}")


def _script(name: ScriptChoice | None, characters: Path | None) -> Script:
    from linly.tokenization.growth.characters import read_characters
    from linly.tokenization.words.scripts import Script, script_named

    if (name is None) == (characters is None):
        raise ConfigError(
            "the words' characters: pass one of --script and --characters, such as --script han"
        )
    if characters is not None:
        return Script(frozenset(read_characters(characters)), is_spaced=False)
    assert name is not None
    return script_named(name.value)


def _sample(
    names: list[str], folders: list[Path], data_root: Path, *, sample_mb: int, seed: int
) -> list[str]:
    """Sample the corpora, with a count of the documents read on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from linly.cli.corpus_texts import CorpusTexts
    from linly.tokenization.growth.new_vocabulary import sample_evenly

    texts = CorpusTexts.open(names, folders, data_root)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading documents")

        def counted(name: str) -> Iterator[str]:
            for number, text in enumerate(texts.documents(name), start=1):
                if number % 256 == 0:
                    progress.update(task, description=f"reading {name}: {number:,} documents")
                yield text

        found = sample_evenly(
            [counted(name) for name in names], limit_bytes=sample_mb * 1_000_000, seed=seed
        )
    warning = texts.warning()
    if warning:
        typer.echo(f"warning: {warning}", err=True)
    return found


def _warn_of_unknown(old: Tokenizer, script: Script, texts: list[str]) -> None:
    from linly.tokenization.words.script_runs import unknown_characters

    unknown, total = unknown_characters(old, script, texts)
    if total and sum(unknown.values()) > _UNKNOWN_WARNING * total:
        first = "".join(character for character, _ in unknown.most_common(_MAX_SHOWN))
        typer.echo(
            f"warning: {sum(unknown.values()) / total:.1%} of the script's characters in the "
            f"corpora have no token of their own ({first} ...), and words cannot hold them. Append "
            f"them first: linly vocab characters --from-corpus, then linly vocab extend",
            err=True,
        )


def _write(learned: LearnedWords, base: Path, output: Path) -> None:
    from linly.cli.vocab_extend import write_folder
    from linly.files import publish
    from linly.tokenization.byte_level import ByteLevelTokenizer

    if isinstance(learned.tokenizer, ByteLevelTokenizer):
        write_folder(learned.tokenizer, base, output)
    else:
        publish(output, learned.tokenizer.model_bytes)


def _show(old: Tokenizer, learned: LearnedWords, texts: list[str], output: Path) -> None:
    from linly.tokenization.growth.fertility import LocatedText, compare_vocabularies

    new = learned.tokenizer
    first = (
        new.readable(old.vocab_size + place)
        for place in range(min(_MAX_SHOWN, len(learned.merges)))
    )
    print(
        f"{old.vocab_size:,} -> {new.vocab_size:,} pieces ({len(learned.merges):,} words: "
        f"{' '.join(first)} ...): {output}"
    )
    if learned.num_left_out:
        print(f"left out, as too rare or never produced by a text: {learned.num_left_out:,}")
    located = (LocatedText("", number, text) for number, text in enumerate(texts))
    report = compare_vocabularies("sample", located, old, new)
    print(
        f"sample of {len(texts):,} documents: {report.before_per_character:.3f} -> "
        f"{report.after_per_character:.3f} tokens per character"
    )
    print(
        f"tried on {learned.num_verified:,} texts: every new token stands for the old ones that "
        f"it joins, and all other ids are unchanged"
    )
