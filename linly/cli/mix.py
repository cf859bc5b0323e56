"""`linly mix`: only the data path, one JSON object per row, without a model."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import orjson
import typer

from linly import api
from linly.cli.mix_text import RowPrinter
from linly.cli.model_options import vocabulary_option
from linly.cli.numbers import MAX_COUNT
from linly.config.recipe import Recipe
from linly.curriculum.apportion import Phase
from linly.curriculum.drift import count_rows
from linly.curriculum.run_plan import Batch
from linly.data.loading.ranks import rank_slice
from linly.data.loading.rows import Rows
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.state import MixerState
from linly.errors import CheckpointError, ConfigError
from linly.files import publish, publishing, read_limited
from linly.records.measures import fill
from linly.tokenization.load_tokenizer import load_tokenizer

_STATE_LIMIT_BYTES = 64 << 20
_DRIFT_CHUNK = 4096


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mix")(mix)


def mix(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    rows: Annotated[
        int, typer.Option(min=1, max=MAX_COUNT, help="Rows of the global stream to build.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override recipe values.")
    ] = None,
    world_size: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Number of ranks that share each step.")
    ] = 1,
    rank: Annotated[
        int | None, typer.Option(min=0, max=1 << 20, help="Print only the rows of this rank.")
    ] = None,
    producers: Annotated[
        int | None, typer.Option(min=0, max=1024, help="Override the recipe's data.producers.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="Resume from a saved state.")] = None,
    save_state: Annotated[
        Path | None, typer.Option(help="Save the state after the last row to this file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Output file (default: standard output).")
    ] = None,
    tokenizer: Annotated[
        Path | None, vocabulary_option("Vocabulary to use instead of the recipe's model.")
    ] = None,
    as_text: Annotated[
        bool, typer.Option("--text", help="Print the documents of each row instead of JSON.")
    ] = False,
) -> None:
    """Build rows without training: one JSON object per row, then speed and drift on stderr.

    Nothing is evaluated, so ratio guards do not act: the curves are followed unchanged.
    """
    loaded = api.load_recipe(recipe, overrides or [])
    batch = Batch(loaded.data.global_batch, loaded.training.micro_batch)
    mine = rank_slice(batch, world_size=world_size, rank=rank or 0)
    printed = range(batch.global_batch)[mine] if rank is not None else range(batch.global_batch)
    _check_folder("--save-state", save_state)
    if loaded.curriculum.guards:
        groups = ", ".join(loaded.curriculum.guards)
        print(f"without evaluations the guards of {groups} do not act", file=sys.stderr)
    with _rows(loaded, tokenizer, state, producers) as stream, _opened(output) as file:
        written = _as_text(stream, batch.global_batch) if as_text else _as_json(batch.global_batch)
        began = time.perf_counter()
        drift = Drift(stream.plan.phases, stream.state)
        num_rows, num_bad = 0, 0
        filled = Fill(loaded.data.sequence_length)
        for mixed in islice(stream, rows):
            drift.add(mixed)
            filled.add(mixed)
            num_rows += 1
            num_bad += len(mixed.row.bad)
            if mixed.index % batch.global_batch in printed:
                file.write(written(mixed))
    elapsed_s = time.perf_counter() - began
    if stream.exhausted is not None and num_rows < rows:
        num_bad += len(stream.exhausted.bad)
        print(f"ended early: {stream.exhausted}", file=sys.stderr)
    if save_state is not None:
        publish(save_state, orjson.dumps(stream.state_dict(), option=orjson.OPT_INDENT_2) + b"\n")
    tokens = num_rows * loaded.data.sequence_length
    print(
        f"{num_rows:,} row{'s' * (num_rows != 1)}, {tokens:,} tokens in {elapsed_s:.1f} s: "
        f"{tokens / elapsed_s:,.0f} tokens/s; largest drift {drift.largest():.3f} row; "
        f"{num_bad} bad record{'s' * (num_bad != 1)}{filled.text()}",
        file=sys.stderr,
    )


def _as_json(global_batch: int) -> Callable[[MixedRow], bytes]:
    return lambda mixed: orjson.dumps(describe(mixed, global_batch)) + b"\n"


def _as_text(rows: Rows, global_batch: int) -> Callable[[MixedRow], bytes]:
    printer = RowPrinter(load_tokenizer(rows.plan.tokenizer_path), global_batch)
    return lambda mixed: printer.text(mixed).encode()


def describe(mixed: MixedRow, global_batch: int) -> dict[str, Any]:
    """Describe a row without its tokens."""
    row = mixed.row
    return {
        "row": mixed.index,
        "step": mixed.index // global_batch + 1,
        "source": row.source,
        "epoch": row.epoch,
        "documents": [
            {"shard": span.shard, "record": span.record, "start": span.start, "end": span.end}
            for span in row.spans
        ],
        "supervised_tokens": row.num_supervised,
        "padding": row.num_padding,
        "sha256": mixed.digest.hex(),
    }


class Fill:
    """Fill of the rows of each source; sources whose rows are all full are not reported."""

    def __init__(self, sequence_length: int) -> None:
        """Count rows of `sequence_length` positions."""
        self._sequence_length = sequence_length
        self._rows: Counter[str] = Counter()
        self._padding: Counter[str] = Counter()

    def add(self, mixed: MixedRow) -> None:
        """Count a row."""
        self._rows[mixed.row.source] += 1
        self._padding[mixed.row.source] += mixed.row.num_padding

    def text(self) -> str:
        """Return `; rows filled: alpaca 93.1%, belle 95.0%`; an empty text if all are full."""
        parts = [
            f"{source} {float(fill(rows, padding, row_length=self._sequence_length)):.1%}"
            for source, rows in sorted(self._rows.items())
            if (padding := self._padding[source])
        ]
        return f"; rows filled: {', '.join(parts)}" if parts else ""


class Drift:
    """Largest difference between rows built and rows planned, over all sources and prefixes."""

    def __init__(self, phases: tuple[Phase, ...], state: MixerState) -> None:
        """Continue counting from a state."""
        self._phases = {phase.from_row: phase for phase in phases}
        self._counts = Counter(state.counts)
        self._phase_from = state.phase_from
        self._first = state.row
        self._sources: list[str] = []
        self._largest = 0.0

    def add(self, mixed: MixedRow) -> None:
        """Count a row."""
        if mixed.phase_from != self._phase_from:
            self._flush()
            self._phase_from, self._counts = mixed.phase_from, Counter()
        self._sources.append(mixed.row.source)
        if len(self._sources) == _DRIFT_CHUNK:
            self._flush()

    def largest(self) -> float:
        """Return the largest difference, in rows."""
        self._flush()
        return self._largest

    def _flush(self) -> None:
        if not self._sources:
            return
        counted = count_rows(
            self._phases[self._phase_from],
            self._sources,
            first_row=self._first,
            made=self._counts,
            made_before_phase={},
        )
        self._largest = max(self._largest, float(np.abs(counted.drift).max()))
        self._counts.update(self._sources)
        self._first += len(self._sources)
        self._sources = []


def _rows(
    recipe: Recipe, tokenizer: Path | None, state: Path | None, producers: int | None
) -> Rows:
    """Open the stream; an error of the state names its file."""
    value = None if state is None else _read_state(state)
    try:
        return api.rows(recipe, tokenizer=tokenizer, state=value, producers=producers)
    except CheckpointError as error:
        raise CheckpointError(f"--state {state}: {error}") from error


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    _check_folder("--output", output)
    with publishing(output) as file:
        yield file


def _check_folder(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written, before the work starts."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "is a folder" if path.is_dir() else "its folder does not exist"
        raise ConfigError(f"{option} {path}: {what}; pass a file in an existing folder")


def _read_state(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = orjson.loads(read_limited(path, limit_bytes=_STATE_LIMIT_BYTES))
    except (OSError, orjson.JSONDecodeError) as error:
        raise CheckpointError(f"--state {path}: cannot be read ({error})") from error
    return value
