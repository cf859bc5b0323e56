"""The rule `--perplexity` of `linly corpora scan`, alone or on every rank of a launcher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from linly.cli.numbers import finite
from linly.cli.printed_table import print_table
from linly.config.corpus import Corpus
from linly.errors import ConfigError

Perplexity = Annotated[
    Path | None, typer.Option(metavar="MODEL", help="Find records by their perplexity under it.")
]
AtMost = Annotated[
    float | None,
    typer.Option(min=1, max=1e12, callback=finite, help="Largest perplexity to keep (InsCP: 15)."),
]
AtLeast = Annotated[
    float | None,
    typer.Option(min=1, max=1e12, callback=finite, help="Smallest perplexity to keep."),
]


def scan_by_perplexity(
    corpora: Sequence[Corpus],
    data_root: Path,
    model: Path,
    output: Path,
    *,
    at_most: float | None,
    at_least: float | None,
) -> None:
    """Score all records with a model, and list those outside the bounds."""
    from linly.evaluation.scoring.perplexity_scan import (
        QUANTILES,
        PerplexityBounds,
        open_scoring_model,
        scan_perplexity,
    )
    from linly.training.ranks.processes import start_processes, stop_processes

    if at_most is None and at_least is None:
        raise ConfigError("--perplexity: no bound; pass --at-most, --at-least, or both")
    bounds = PerplexityBounds(at_most, at_least)
    processes = start_processes()
    scoring = open_scoring_model(model, processes, sequence_length=None, batch_rows=4)
    counts = scan_perplexity(corpora, data_root, scoring, bounds, output, processes)
    if processes.world_size > 1:
        stop_processes()
    if not processes.is_first:
        return
    rows = []
    for name, found in counts.items():
        share = f"{found.kept / found.records:.1%}" if found.records else ""
        whole = "" if found.bits_per_byte is None else f"{found.bits_per_byte:.3f}"
        numbers = (f"{value:,.1f}" for value in found.quantiles)
        rows.append((name, f"{found.records:,}", f"{found.kept:,}", share, whole, *numbers))
    quantiles = (f"{quantile:.0%}" for quantile in QUANTILES)
    print_table(("corpus", "records", "kept", "share", "bits/byte", *quantiles), rows)
    print(f"written: {output}; leave its records out by a key of the corpus files:")
    print(f"    exclude_records: {output}")
