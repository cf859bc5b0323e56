"""`linly report RUN`: a run as one HTML file, and its mixture as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linly.errors import ConfigError, TrainingError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, such as runs/NAME.")],
    output: Annotated[
        Path | None, typer.Option(help="HTML file to write (default: RUN/report.html).")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Also draw the mixture over the run to this PNG file.")
    ] = None,
    recount: Annotated[
        bool,
        typer.Option("--recount", help="Only compare the run's counters with its per-row record."),
    ] = False,
) -> None:
    """Write a report of a run as one self-contained HTML file."""
    if recount:
        if output is not None or png is not None:
            raise ConfigError("--recount writes nothing: remove it, or remove --output and --png")
        _recount(run)
        return
    try:
        from linly.monitor.charts.picture import write_picture
        from linly.monitor.pages.run_report import write_report
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"linly report draws with plotly and matplotlib, and {error.name} is not installed: "
            f"pip install 'linly[monitor]'"
        ) from error
    typer.echo(f"report: {write_report(run, output)}")
    if png is not None:
        typer.echo(f"picture: {write_picture(run, png)}")


def _recount(run: Path) -> None:
    """Print whether the counters agree with the per-row record; raise an error if not."""
    from linly.monitor.history.history import read_history
    from linly.monitor.history.recount import recount, recount_text

    recounted = recount(read_history(run))
    if recounted.num_rows and not recounted.agrees:
        raise TrainingError(f"run {run}: {recount_text(recounted)}")
    typer.echo(recount_text(recounted))
