"""`linly monitor RUN...`: a live page about runs, on this machine's loopback address."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Annotated

import typer

from linly.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("monitor")(monitor)


def monitor(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are overlaid.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any free one.")
    ] = 8050,
) -> None:
    """Show runs while they train, in a browser on this machine; Ctrl-C stops the server."""
    try:
        from linly.monitor.history.follow import RunFollower
        from linly.monitor.pages.live import ADDRESS, serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"linly monitor needs dash and plotly, and {error.name} is not installed: "
            f"pip install 'linly[monitor]'"
        ) from error
    server = serve([RunFollower(run) for run in runs], port=port)
    number = server.server_port
    typer.echo(f"monitor: http://{ADDRESS}:{number}")
    typer.echo(
        f"from another machine: ssh -L {number}:{ADDRESS}:{number} "
        f"{getpass.getuser()}@{socket.gethostname()}, then open the address there"
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("monitor: ended")
    finally:
        server.server_close()
