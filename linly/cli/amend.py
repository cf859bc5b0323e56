"""`linly amend`: change the rest of a run, from its newest complete checkpoint on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from linly.training.changes.amendment import Amendment
    from linly.training.changes.forecast import SourceForecast

_PIPE_WIDTH = 200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("amend")(amend)


def amend(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/NAME.")],
    curriculum: Annotated[
        Path | None,
        typer.Argument(metavar="[CURRICULUM]", help="Curriculum file to continue with."),
    ] = None,
    relist: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="List the shards of this source again, used from its next epoch on; repeatable.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Remove this source; the rest of its group takes its share; repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes without writing them.")
    ] = False,
) -> None:
    """Change the rest of a run; the steps that it has trained stay unchanged.

    The new curriculum applies from the newest complete checkpoint on. Positions on its curves count
    from the start of the run, and `tokens` is the length of the whole run. Sources continue at
    their positions, even if they change groups; sources may be added and removed. Afterwards the
    same `linly train` command resumes the run, with the old or the new curriculum in its recipe.
    """
    if curriculum is None and not relist and not drop:
        raise ConfigError(
            "linly amend: no change was requested; pass a curriculum file, --relist SOURCE or "
            "--drop SOURCE"
        )
    from linly.config.curriculum import load_curriculum
    from linly.runs.runs import RunFolder
    from linly.training.changes.amendment import plan_amendment, write_amendment

    wanted = None if curriculum is None else load_curriculum(curriculum)
    folder = RunFolder.open(run)
    if dry_run:
        show(plan_amendment(folder, wanted, relist=relist or (), drop=drop or ()))
        typer.echo("nothing was written (--dry-run)")
        return
    with folder.lock():
        amendment = plan_amendment(folder, wanted, relist=relist or (), drop=drop or ())
        show(amendment)
        write_amendment(folder, amendment)
    typer.echo(
        f"{run} is amended: the same `linly train` command resumes it from step {amendment.at.step}"
    )


def show(amendment: Amendment) -> None:
    """Print the changes of each source and of the schedule."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PIPE_WIDTH)
    at = amendment.at
    console.print(
        f"from step {at.step} (row {at.row:,}) on; before -> after, curriculum "
        f"{at.timeline.curriculum.name} -> {amendment.after.curriculum.name}"
    )
    for name in at.incomplete:
        console.print(f"warning: {name} is incomplete; the run resumes from step {at.step}")
    console.print(_table(amendment))
    (steps_before, steps), (lr_before, lr) = amendment.num_steps, amendment.lr
    if steps != steps_before:
        console.print(
            f"steps of the run: {steps_before:,} -> {steps:,}; this changes the learning rate: "
            f"{lr_before:.3g} -> {lr:.3g} at step {at.step + 1:,}"
        )
    for source, new in amendment.lists.items():
        console.print(
            f"{source}: {len(new.shards):,} shards are listed, {len(new.added):,} of them new; "
            f"the list is used from its epoch {new.from_epoch + 1} on (it is now in epoch "
            f"{at.epoch(source) + 1}). To use new shards at once, add them as a separate source"
        )
        if new.gone:
            console.print(
                f"warning: {source}: {len(new.gone):,} shards of the current list are missing or "
                f"changed, such as {new.gone[0]}: the current epoch will stop there"
            )
    for source, inventory in amendment.inventories.items():
        held_out = f"{len(inventory.held_out):,} held-out documents"
        console.print(f"{source}: new, {len(inventory.shards):,} shards, {held_out}")
    for source, (before, after) in amendment.forecasts.items():
        if before is not None and after is None:
            console.print(f"{source}: dropped; its held-out documents are still evaluated")


def _table(amendment: Amendment) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("group", "source"):
        table.add_column(heading)
    for heading in ("share now", "middle", "end", "rows to come", "epochs at the end"):
        table.add_column(heading, justify="right")
    groups = amendment.after.groups
    for group, sources in groups.items():
        for source in sources:
            if source in amendment.forecasts:
                before, after = (_cells(forecast) for forecast in amendment.forecasts[source])
                table.add_row(group, source, *map(_change, before, after))
    return table


def _cells(forecast: SourceForecast | None) -> tuple[str, ...]:
    from linly.curriculum.wording import percent

    if forecast is None:
        return ("none", "none", "none", "0", "")
    epochs = "" if forecast.epochs is None else f"{forecast.epochs:.2f}"
    return (*(percent(share) for share in forecast.shares), f"{forecast.rows:,}", epochs)


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before or 'none'} -> {after or 'none'}"
