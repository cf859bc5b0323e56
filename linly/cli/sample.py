"""`linly sample`: the embedded synthetic corpora."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `linly sample` to the program."""
    app.command(name="sample")(_sample)


def _sample(
    output: Annotated[Path, typer.Option(help="Folder to write to; made when missing.")],
    seed: Annotated[int, typer.Option(help="Decides every byte that is written.")] = 2023,
    size: Annotated[str, typer.Option(help="tiny, small (20 MB of text) or large.")] = "small",
) -> None:
    """Write a small synthetic English and Chinese world in the forms of the real corpora."""
    from linly.sample.write import write_sample

    files = write_sample(output, seed=seed, size=size)
    records: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in files:
        corpus = file.path.split("/", 1)[0]
        records[corpus] += file.num_records
        sizes[corpus] += file.size_bytes
    for corpus, count in records.items():
        print(f"{corpus:18} {count:7,} records  {sizes[corpus] / 1e6:6.1f} MB")
    print(f"{sum(sizes.values()) / 1e6:.1f} MB in {len(files)} files under {output}")
