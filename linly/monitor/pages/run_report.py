"""A run as one HTML file that opens without server or network."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from markupsafe import Markup

from linly import __version__
from linly.files import publish_text
from linly.monitor.charts.charts import run_charts
from linly.monitor.history.history import History, read_history
from linly.monitor.history.recount import Recount, recount, recount_text
from linly.monitor.pages.page import page_parts
from linly.monitor.pages.rendering import part
from linly.monitor.pages.standalone import standalone_page


def write_report(run_path: Path, output: Path | None = None) -> Path:
    """Write a run's report.

    Args:
        run_path: The run folder.
        output: The file to write; by default the run's report.html.

    Returns:
        The file written.

    Raises:
        ConfigError: If there is no run at `run_path`.
        TrainingError: If it has no step yet, or its logs are damaged.
    """
    history = read_history(run_path)
    file = output or run_path / "report.html"
    publish_text(file, report_html(history, recount(history)))
    return file


def report_html(history: History, recounted: Recount) -> str:
    """Compose the page: headline figures, charts, tables, samples, settings."""
    charts = run_charts(history)
    parts = (*page_parts(history, charts).values(), _footer(recounted))
    return standalone_page(f"{history.name} · linly", parts, charts)


def _footer(recounted: Recount) -> Markup:
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    told = recount_text(recounted)
    return part("footer")(f"{told} Written {written} by linly {__version__}.")
