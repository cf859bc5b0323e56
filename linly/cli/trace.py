"""`linly trace RUN`: the documents of a step with their text, or those of all loss spikes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linly.cli.numbers import MAX_COUNT, finite
from linly.errors import ConfigError

if TYPE_CHECKING:
    from linly.monitor.history.row_texts import TracedRow, Tracer
    from linly.records.span import Span
    from linly.runs.runs import RunFolder
    from linly.training.recording.spikes import Spike

SHOWN_CHARACTERS = 240
SPIKE_ROWS = 3
"""Rows shown of each spike unless --top is set."""

STEP_ROWS = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace")(trace)


def trace(
    run: Annotated[Path, typer.Argument(help="Run folder, such as runs/NAME.")],
    step: Annotated[int | None, typer.Option(min=1, max=MAX_COUNT, help="Step to show.")] = None,
    spikes: Annotated[
        bool,
        typer.Option("--spikes", help="Show all steps that were skipped or whose loss jumped."),
    ] = False,
    rank: Annotated[
        int | None, typer.Option(min=0, max=1 << 20, help="Show only rows of this rank.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_COUNT, help="Rows to show (default: 10 of a step, 3 of each spike)."
        ),
    ] = None,
    factor: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e6,
            callback=finite,
            help="With --spikes: override the recipe's guards.spike.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Do not shorten texts.")] = False,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the shards, if they were moved (default: $LINLY_DATA)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per step, with full texts.")
    ] = False,
) -> None:
    """Show the rows that a step was trained on, by loss, with their records and text.

    Steps count from 1, rows of the run's stream from 0. --spikes also lists steps that a fork
    skipped (linly fork --skip-steps): their rows were consumed but not trained on.
    """
    from linly.monitor.history.row_texts import Tracer
    from linly.runs.runs import RunFolder

    if (step is None) != spikes:
        raise ConfigError("linly trace: pass either --step N or --spikes")
    if factor is not None and not spikes:
        raise ConfigError("linly trace: --factor is allowed only with --spikes")
    folder = RunFolder.open(run)
    tracer = Tracer(run, data_root=data_root)
    if step is not None:
        rows = _rows(run, tracer, step, rank=rank, top=top or STEP_ROWS)
        if as_json:
            _print_json(step, rows, None)
        else:
            _print_text(step, rows, full=full)
        return
    found = _spikes(folder, factor)
    if not as_json:
        _print_skipped_by_fork(folder)
        if not found:
            typer.echo("no guard skipped a step and no loss jumped")
    for spike in found:
        rows = _rows(run, tracer, spike.step, rank=rank, top=top or SPIKE_ROWS)
        if as_json:
            _print_json(spike.step, rows, spike)
        else:
            what = "skipped" if spike.skipped else "applied"
            typer.echo(f"step {spike.step} {what}: {_printable(spike.reason)}")
            _print_text(spike.step, rows, full=full)


def _rows(
    run: Path, tracer: Tracer, step: int, *, rank: int | None, top: int
) -> tuple[TracedRow, ...]:
    from linly.monitor.history.row_texts import worst_rows

    return tracer.texts(worst_rows(run, step, rank=rank, top=top))


def _spikes(folder: RunFolder, factor: float | None) -> list[Spike]:
    from linly.config.recipe import load_recipe
    from linly.training.recording.spikes import find_spikes

    settings = load_recipe(folder.path / "recipe.yaml").guards
    if factor is not None:
        settings = settings.model_copy(update={"spike": factor})
    return find_spikes(folder.read_steps(), folder.read("events"), settings)


def _print_skipped_by_fork(folder: RunFolder) -> None:
    from linly.training.recording.spikes import find_skipped_by_fork

    for one in find_skipped_by_fork(folder.read("events")):
        steps = f"step {one.first_step}"
        if one.last_step > one.first_step:
            steps = f"steps {one.first_step} to {one.last_step}"
        typer.echo(
            f"{steps} skipped by the fork: rows {one.first_row} to {one.last_row} were consumed "
            "but not trained on"
        )


def _print_json(step: int, rows: Sequence[TracedRow], spike: Spike | None) -> None:
    import orjson

    form: dict[str, Any] = {"step": step}
    if spike is not None:
        form |= {"reason": spike.reason, "skipped": spike.skipped}
    form["rows"] = [
        asdict(traced.row)
        | {
            "documents": [
                span._asdict() | asdict(text)
                for span, text in zip(traced.row.documents, traced.texts, strict=True)
            ]
        }
        for traced in rows
    ]
    typer.echo(orjson.dumps(form).decode())


def _print_text(step: int, rows: Sequence[TracedRow], *, full: bool) -> None:
    for traced in rows:
        row = traced.row
        loss = "no loss" if row.loss is None else f"loss {row.loss:.4f}"
        if row.loss is None and row.supervised_tokens:  # a fork skipped its step
            loss = "skipped, no loss"
        padding = f", {row.padding} positions of padding" if row.padding else ""
        typer.echo(
            f"step {step}  row {row.row}  {_printable(row.source)}  epoch {row.epoch}  "
            f"rank {row.rank}  {loss} over {row.supervised_tokens} tokens{padding}"
        )
        for span, found in zip(row.documents, traced.texts, strict=True):
            typer.echo(f"  {_place(span, found.num_tokens)}")
            for line in _lines(found.text, full=full):
                typer.echo(f"    {line}")


def _place(span: Span, num_tokens: int) -> str:
    whole = span.start == 0 and span.end == num_tokens
    tokens = f"all {num_tokens}" if whole else f"{span.start} to {span.end} of {num_tokens}"
    return f"{_printable(span.shard)}  record {span.record}  tokens {tokens}"


def _lines(text: str, *, full: bool) -> Iterator[str]:
    """Format a text as lines for a terminal: in full, or its start and end in one line."""
    if full:
        yield from map(_printable, text.split("\n"))
    elif len(text) <= SHOWN_CHARACTERS:
        yield _printable(text)
    else:
        half = SHOWN_CHARACTERS // 2
        yield f"{_printable(text[:half])} [...] {_printable(text[-half:])}"


def _printable(text: str) -> str:
    """Escape control characters of a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
