"""`linly corpora scan`: records to leave out, as a list that corpus files name."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.corpora_perplexity import AtLeast, AtMost, Perplexity, scan_by_perplexity
from linly.cli.corpus_folders import CorpusFolders
from linly.cli.named_corpora import DataRoot, find_corpus
from linly.cli.numbers import finite
from linly.cli.printed_table import print_table
from linly.cli.shown_text import printable
from linly.errors import ConfigError

if TYPE_CHECKING:
    from linly.config.corpus import Corpus
    from linly.data.scanning.corpus_scan import CorpusScan
    from linly.data.scanning.scanned_texts import ScannedShard


Against = Annotated[
    Path | None,
    typer.Option(help="Folder of exams (mmlu, cmmlu, ceval, agieval): find their questions."),
]
Duplicates = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=1,
        callback=finite,
        help="Find records that are this similar to an earlier one (Jaccard, such as 0.8).",
    ),
]
Words = Annotated[int, typer.Option(min=4, max=100, help="Words per n-gram of a question.")]
Characters = Annotated[
    int, typer.Option(min=4, max=100, help="Characters per n-gram of a Chinese question.")
]
MinShare = Annotated[
    float,
    typer.Option(
        min=1e-9,
        max=1,
        callback=finite,
        help="Fraction of a question's n-grams from which a record holds it.",
    ),
]


def scan(
    corpora: Annotated[
        list[str], typer.Argument(metavar="CORPUS...", help="Names of corpora, or their files.")
    ],
    output: Annotated[Path, typer.Option(help="Record list to write, a parquet file.")],
    folders: CorpusFolders,
    against: Against = None,
    duplicates: Duplicates = None,
    perplexity: Perplexity = None,
    at_most: AtMost = None,
    at_least: AtLeast = None,
    words: Words = 13,
    characters: Characters = 16,
    min_share: MinShare = 0.5,
    processes: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes, each with shards of its own.")
    ] = 1,
    data_root: DataRoot = Path("."),
) -> None:
    """List records that hold an exam question, repeat another, or are unlikely; change no shard.

    Name the list in the corpus files: `exclude_records: leaks.parquet`.
    """
    from linly.data.scanning.corpus_scan import ScanSettings, scan_corpora

    found = [find_corpus(name, folders) for name in corpora]
    _check_rules(perplexity, against, duplicates)
    if perplexity is not None:
        scan_by_perplexity(found, data_root, perplexity, output, at_most=at_most, at_least=at_least)
        return
    settings = ScanSettings(
        against=against,
        duplicates=duplicates,
        words=words,
        characters=characters,
        min_share=min_share,
    )
    start = time.perf_counter()
    done = scan_corpora(found, data_root, settings, processes=processes, on_shard=_show_shard)
    done.write(output)
    _report(found, done, output, time.perf_counter() - start)


def _check_rules(perplexity: Path | None, against: Path | None, duplicates: float | None) -> None:
    if perplexity is None and against is None and duplicates is None:
        raise ConfigError(
            "nothing to scan for: pass --against EXAMS, --duplicates SIMILARITY, or both, or "
            "--perplexity MODEL"
        )
    if perplexity is not None and (against is not None or duplicates is not None):
        raise ConfigError(
            "--perplexity runs on every rank, and the other rules on one: write a list of its own "
            "by a second scan; a corpus file may name several"
        )


def _show_shard(scanned: ScannedShard) -> None:
    """Print the shard that has been read to standard error."""
    print(f"{scanned.corpus.name}: {printable(scanned.shard.path)}", file=sys.stderr)


def _report(corpora: list[Corpus], done: CorpusScan, output: Path, seconds: float) -> None:
    """Print what each corpus holds, the speed, and what to write into the corpus files."""
    rows = []
    for corpus in corpora:
        counts = done.counts[corpus.name]
        by_reason = [f"{done.num_listed(corpus.name, reason):,}" for reason in done.reasons]
        cells = (f"{counts.records:,}", f"{counts.bad:,}", f"{counts.size_bytes / 1e6:,.1f}")
        rows.append((corpus.name, *cells, *by_reason))
    print_table(("corpus", "records", "bad", "MB of text", *done.reasons), rows)
    for note in done.notes:
        print(f"note: {note}")
    size_bytes = sum(counts.size_bytes for counts in done.counts.values())
    print(f"{size_bytes / 1e6:,.1f} MB in {seconds:,.1f} s: {size_bytes / 1e6 / seconds:.1f} MB/s")
    print(f"written: {output}; leave its records out by a key of the corpus files:")
    print(f"    exclude_records: {output}")
