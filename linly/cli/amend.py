"""`linly amend`: give a run another future, from its newest whole checkpoint on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from linly.training.changes.amend import Amendment
    from linly.training.changes.outlook import SourceOutlook

_PIPE_WIDTH = 200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("amend")(amend)


def amend(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/NAME.")],
    curriculum: Annotated[
        Path | None,
        typer.Argument(metavar="[CURRICULUM]", help="Curriculum file to go on with."),
    ] = None,
    relist: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Take up the shards that match its corpus file now, from its next epoch on; "
            "repeatable.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Give its share to the rest of its group; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, write nothing.")] = False,
) -> None:
    """Change what is still to come of a run; what it has trained on stays as it is.

    The new curriculum holds from the newest whole checkpoint on. Positions on its curves count
    from the start of the run, and `tokens` is the length of the whole run. Sources go on where
    they are, also when they change places; new ones may come in and old ones go. Afterwards the
    same `linly train` command goes on, with the old curriculum in its recipe or the new one.
    """
    if curriculum is None and not relist and not drop:
        raise ConfigError(
            "linly amend: nothing was asked for: give a curriculum file, --relist SOURCE or "
            "--drop SOURCE"
        )
    from linly.config.curriculum import load_curriculum
    from linly.runs.runs import RunFolder
    from linly.training.changes.amend import plan_amendment, write_amendment

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
        f"{run} is amended: the same `linly train` command goes on from step {amendment.at.step}"
    )


def show(amendment: Amendment) -> None:
    """What changes, source by source, and what goes with it."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PIPE_WIDTH)
    at = amendment.at
    console.print(
        f"from step {at.step} (row {at.row:,}) on; before -> after, curriculum "
        f"{at.course.curriculum.name} -> {amendment.after.curriculum.name}"
    )
    for name in at.torn:
        console.print(f"warning: {name} is not whole; the run goes on from step {at.step}")
    console.print(_table(amendment))
    (steps_before, steps), (lr_before, lr) = amendment.num_steps, amendment.lr
    if steps != steps_before:
        console.print(
            f"steps of the run: {steps_before:,} -> {steps:,}; the schedule of the learning rate "
            f"moves with them: {lr_before:.3g} -> {lr:.3g} at step {at.step + 1:,}"
        )
    for source, new in amendment.lists.items():
        console.print(
            f"{source}: {len(new.shards):,} shards are listed, {len(new.added):,} of them new; "
            f"the list holds from its epoch {new.from_epoch + 1} on (it stands in "
            f"{at.epoch(source) + 1}). To read them at once give them a source of their own"
        )
        if new.gone:
            console.print(
                f"warning: {source}: {len(new.gone):,} shards of the list in use are gone or have "
                f"changed, such as {new.gone[0]}: the epoch it stands in will stop there"
            )
    for source, inventory in amendment.inventories.items():
        held_out = f"{len(inventory.held_out):,} held-out documents"
        console.print(f"{source}: new, {len(inventory.shards):,} shards, {held_out}")


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
            if source in amendment.outlooks:
                before, after = (_cells(outlook) for outlook in amendment.outlooks[source])
                table.add_row(group, source, *map(_change, before, after))
    return table


def _cells(outlook: SourceOutlook | None) -> tuple[str, ...]:
    from linly.curriculum.wording import percent

    if outlook is None:
        return ("none", "none", "none", "0", "")
    epochs = "" if outlook.epochs is None else f"{outlook.epochs:.2f}"
    return (*(percent(share) for share in outlook.shares), f"{outlook.rows:,}", epochs)


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before or 'none'} -> {after or 'none'}"
