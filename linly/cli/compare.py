"""`linly compare A B...`: runs by bits per byte gained and lost, curricula by tokens per source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.errors import ConfigError

if TYPE_CHECKING:
    from linly.monitor.plans.plan_facts import PlanFacts


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or curriculum and recipe files; at least two."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Also write the comparison to this HTML file.")
    ] = None,
) -> None:
    """Compare runs (what each learned and forgot) or curricula (tokens of each source)."""
    if len(paths) < 2:
        raise ConfigError(f"linly compare: found {len(paths)} path, allowed: two or more")
    are_files = [path.is_file() for path in paths]
    if any(are_files) and not all(are_files):
        raise ConfigError(
            "linly compare: found a file and a folder, allowed: run folders only, or curricula and "
            "recipes only"
        )
    try:
        if are_files[0]:
            _compare_plans(paths, output)
        else:
            _compare_runs(paths, output)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"linly compare draws with plotly, and {error.name} is not installed: "
            f"pip install 'linly[monitor]'"
        ) from error


def _compare_runs(paths: Sequence[Path], output: Path | None) -> None:
    from linly.monitor.history.history import read_history
    from linly.monitor.history.named_runs import named_runs
    from linly.monitor.pages.overlay_page import trade_lines, write_comparison

    runs = named_runs([read_history(path) for path in paths])
    lines = trade_lines(runs)
    for line in lines or ["nothing to compare yet: none of these runs has two evaluations"]:
        typer.echo(line)
    if output is not None:
        typer.echo(f"wrote {write_comparison(paths, output)}")


def _compare_plans(paths: Sequence[Path], output: Path | None) -> None:
    from linly.monitor.number_words import count
    from linly.monitor.plans.plan_overlay import source_names, tokens_of, write_plan_comparison

    plans = [_facts(path) for path in paths]
    width = max(len(name) for name in (*source_names(plans), "source"))
    typer.echo("  ".join([f"{'source':<{width}}", *(f"{plan.name:>16}" for plan in plans)]))
    for name in source_names(plans):
        cells = [f"{count(tokens_of(plan, name)):>16}" for plan in plans]
        typer.echo("  ".join([f"{name:<{width}}", *cells]))
    if output is not None:
        typer.echo(f"wrote {write_plan_comparison(plans, output)}")


def _facts(path: Path) -> PlanFacts:
    """Return the plan of a curriculum or recipe, without reading data."""
    from linly import api
    from linly.cli.plan import load_plan_file
    from linly.monitor.plans.plan_facts import Costs, plan_facts

    recipe, curriculum = load_plan_file(path, [])
    plan = api.plan(recipe or curriculum, counts_data=False)
    return plan_facts(curriculum, plan, Costs(), recipe=recipe)
