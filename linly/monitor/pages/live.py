"""The live page: a small dash application on the loopback address.

The page has the report's parts, styles and drawing script. dash adds the rest: it polls for updates
every second, keeps the selected run and step, and shows that step's documents. Nothing is fetched
from other hosts, a content security policy limits scripts, and requests for other host names are
refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlsplit

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from flask import Response, abort, request
from plotly.offline import get_plotlyjs
from werkzeug.serving import BaseWSGIServer, make_server

from linly.errors import ConfigError
from linly.monitor.history.documents import StepRows, rows_of_step
from linly.monitor.history.follow import Look, RunFollower
from linly.monitor.pages.rendering import render, trusted
from linly.monitor.pages.snapshot import Snapshots, pulse
from linly.records.row_record import RowRecord

ADDRESS = "127.0.0.1"
HOST_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
POLL_MS = 1000
MAX_ROWS = 100
"""Largest number of rows in the documents of a step."""

ALL_RUNS = "all"
PARTS_ABOVE = ("header", "alarms", "tiles", "legend", "charts")
PARTS_BELOW = ("exams", "sources", "decisions", "samples", "quarantine", "record")


class LivePage(Dash):
    """A dash application whose page loads only its own scripts."""

    def interpolate_index(
        self,
        metas: str = "",
        title: str = "",
        css: str = "",
        config: str = "",
        scripts: str = "",
        app_entry: str = "",
        favicon: str = "",
        renderer: str = "",
    ) -> str:
        """Render the empty page, which dash's script fills."""
        values = {
            "metas": metas,
            "css": css,
            "app_entry": app_entry,
            "config": config,
            "scripts": scripts,
            "renderer": renderer,
        }
        page = {name: trusted(value) for name, value in values.items()}  # made by dash
        return render("live.html", {"title": self.title, **page})


def serve(followers: Sequence[RunFollower], *, port: int) -> BaseWSGIServer:
    """Create a server of the page, bound to the loopback address but not yet serving.

    Raises:
        ConfigError: If the port cannot be used.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        return make_server(ADDRESS, port, live_page(followers).server, threaded=True)
    except (OSError, SystemExit) as error:  # werkzeug exits the program if the port is in use
        raise ConfigError(
            f"port {port} of {ADDRESS} cannot be used: is another monitor running there? "
            f"Choose another with --port"
        ) from error


def live_page(followers: Sequence[RunFollower]) -> LivePage:
    """Create the application for the runs of `followers`."""
    names = [follower.path.resolve().name for follower in followers]
    app = LivePage(
        __name__,
        title=f"{', '.join(names)} · linly",
        update_title="",
        assets_folder=str(resources.files("linly.monitor") / "assets"),
        serve_locally=True,
        enable_mcp=False,
    )
    app.layout = _layout(names)
    _add_callbacks(app, followers)
    _guard(app)
    return app


# -- safety ----------------------------------------------------------------------------------------


def _guard(app: LivePage) -> None:
    """Refuse foreign host names (DNS rebinding), and limit scripts by a policy."""
    hashes = " ".join(f"'{digest.strip(chr(39))}'" for digest in app.csp_hashes())
    policy = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src 'self' data: blob:; font-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )

    def check_host() -> None:
        if urlsplit(f"//{request.host}").hostname not in HOST_NAMES:
            abort(403)

    def add_policy(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    plotly = get_plotlyjs().encode()

    def plotly_script() -> Response:
        return Response(
            plotly,
            mimetype="text/javascript",
            headers={"Cache-Control": "private, max-age=86400"},
        )

    app.server.before_request(check_host)
    app.server.after_request(add_policy)
    app.server.add_url_rule("/plotly.js", view_func=plotly_script)


# -- page ------------------------------------------------------------------------------------------


def _layout(names: Sequence[str]) -> html.Main:
    """Containers for the parts, a menu of several runs, and the input of a step."""
    options = [{"label": "all runs", "value": ALL_RUNS}] if len(names) > 1 else []
    options += [{"label": name, "value": str(index)} for index, name in enumerate(names)]
    places = {
        name: html.Div(id=f"part-{name}", className="part") for name in (*PARTS_ABOVE, *PARTS_BELOW)
    }
    return html.Main(
        [
            dcc.Interval(id="tick", interval=POLL_MS),
            dcc.Store(id="snapshot"),
            dcc.Store(id="shown"),
            dcc.Store(id="drawn"),
            html.Nav(
                dcc.RadioItems(options, options[0]["value"], id="run", className="runs"),
                hidden=len(names) == 1,
            ),
            html.Div(id="pulse"),
            *(places[name] for name in PARTS_ABOVE),
            _documents_section(),
            *(places[name] for name in PARTS_BELOW),
        ]
    )


def _documents_section() -> html.Section:
    return html.Section(
        [
            html.H2("Documents of a step"),
            html.Div(
                [
                    html.Label("Step", htmlFor="step"),
                    dcc.Input(
                        id="step", type="number", min=1, step=1, debounce=True, className="number"
                    ),
                    html.Span("or click a point in a chart over tokens seen", className="note"),
                ],
                className="step-choice",
            ),
            html.Div(id="documents"),
        ],
        id="documents-section",
    )


def _add_callbacks(app: LivePage, followers: Sequence[RunFollower]) -> None:
    single = {str(index): Snapshots([one]) for index, one in enumerate(followers)}
    views = single if len(followers) == 1 else single | {ALL_RUNS: Snapshots(followers)}

    def refresh(_: int | None, run: str, shown: list[str] | None) -> tuple[Any, Any, Any]:
        snapshot, looks = views[run].now()
        named = zip(followers if run == ALL_RUNS else [followers[int(run)]], looks, strict=True)
        lines = [_pulse(one, look, is_named=len(looks) > 1) for one, look in named]
        version = [run, snapshot.version]
        if not snapshot.content or version == shown:
            return no_update, no_update, lines
        return snapshot.content | {"run": run}, version, lines

    app.callback(
        Output("snapshot", "data"),
        Output("shown", "data"),
        Output("pulse", "children"),
        Input("tick", "n_intervals"),
        Input("run", "value"),
        State("shown", "data"),
    )(refresh)

    def documents(step: int | None, run: str) -> Any:
        if run == ALL_RUNS:
            return html.P("Choose one run to see its documents.", className="note")
        if step is None:
            return None
        path = followers[int(run)].path
        return _documents(rows_of_step(path, int(step)), path)

    app.callback(Output("documents", "children"), Input("step", "value"), Input("run", "value"))(
        documents
    )
    add_in_browser: Any = app.clientside_callback  # dash leaves it untyped
    add_in_browser(
        ClientsideFunction("live", "show"), Output("drawn", "data"), Input("snapshot", "data")
    )


def _pulse(follower: RunFollower, look: Look, *, is_named: bool) -> html.P:
    """Current state of a run."""
    beat = pulse(look, time.time())
    name = f"{follower.path.resolve().name}: " if is_named else ""
    return html.P(f"{name}{beat.text}", className=f"pulse {beat.state}")


def _documents(found: StepRows, path: Path) -> list[Any]:
    """Table of a step's rows: source, loss, and the records in them."""
    if not found.rows:
        why = f"The row record does not contain step {found.step:,}. "
        why += (
            f"It reaches to step {found.last_step:,}; rows are written with each checkpoint."
            if found.last_step
            else "Rows are written with each checkpoint; there is none yet."
        )
        return [html.P(why, className="note")]
    losses = [row.loss for row in found.rows if row.loss is not None]
    note = f"Step {found.step:,}: {len(found.rows):,} rows"
    if len(found.rows) > MAX_ROWS:
        note += f", the first {MAX_ROWS} are shown"
    if losses:
        note += f"; loss from {min(losses):.3f} to {max(losses):.3f} nats per token"
    heads = ("row", "source", "epoch", "loss", "padding", "documents: shard, record, tokens")
    kinds = ("number", "name", "number", "number", "number", "")
    head = html.Tr([html.Th(name, className=kind) for name, kind in zip(heads, kinds, strict=True)])
    lines = [_row(row) for row in found.rows[:MAX_ROWS]]
    return [
        html.P(
            [
                f"{note}. Their text: ",
                html.Code(f"linly trace {quote(str(path))} --step {found.step}"),
            ],
            className="note",
        ),
        html.Div(html.Table([html.Thead(head), html.Tbody(lines)]), className="scroll"),
    ]


def _row(row: RowRecord) -> html.Tr:
    documents = [
        html.Div(f"{span.shard}, {span.record:,}, {span.start:,} to {span.end:,}")
        for span in row.documents
    ]
    return html.Tr(
        [
            html.Td(f"{row.row:,}", className="number"),
            html.Td(row.source, className="name"),
            html.Td(str(row.epoch), className="number"),
            html.Td("–" if row.loss is None else f"{row.loss:.3f}", className="number"),
            html.Td(f"{row.padding:,}", className="number"),
            html.Td(documents, className="documents"),
        ]
    )
