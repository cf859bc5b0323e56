"""The `linly` program: registers the commands of its modules and prints errors meant for users.

The modules import heavy packages (torch, transformers, plotly) in the bodies of their commands, so
that commands such as `linly plan` start fast.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from linly import __version__
from linly.errors import LinlyError

COMMAND_MODULES = (
    "init",
    "plan",
    "check",
    "mix",
    "corpora",
    "recipes",
    "schema",
    "vocab",
    "model",
    "train",
    "launch",
    "amend",
    "fork",
    "restore",
    "slurm",
    "export",
    "generate",
    "chat",
    "evaluate",
    "report",
    "monitor",
    "trace",
    "compare",
)
"""Modules of `linly.cli`, in the order of the help text; each has `register(app)`."""

_ROOM = "free space there or write to another disk"
_PLACE = "choose a place that this user may write to"
_CURES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EIO: "check the disk and its logs",
}
"""Cures for errors of the system, where there is one."""


def build_app() -> typer.Typer:
    """Build the program with every command registered."""
    app = typer.Typer(
        name="linly",
        help="Continual pre-training on a data mixture that changes along curves.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name in COMMAND_MODULES:
        importlib.import_module(f"linly.cli.{name}").register(app)
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"linly {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options of the program itself; those that print something end it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and leave by `sys.exit`.

    The text of a `LinlyError` goes to stderr, and the exit code is 1. The same holds for errors of
    the system (a full disk, a read-only folder). Any other exception is a bug and keeps its trace.

    Args:
        arguments: Arguments without the program's name; None takes those of the process.
    """
    try:
        try:
            build_app()(args=None if arguments is None else list(arguments), prog_name="linly")
        finally:
            _flush_output()
    except LinlyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {_described(error)}", file=sys.stderr)
        sys.exit(1)


def _flush_output() -> None:
    """Flush standard output, so that output that cannot be written is an error too."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
        if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has closed it
            raise OSError(error.errno, error.strerror, "standard output") from error


def _described(error: OSError) -> str:
    """Describe an error: `out/model: No space left on device; free space ...`."""
    name = error.filename2 or error.filename
    place = "" if name is None else f"{os.fsdecode(name)}: "
    reason = error.strerror or str(error) or type(error).__name__
    cure = _CURES.get(error.errno or 0)
    return f"{place}{reason}" + ("" if cure is None else f"; {cure}")


if __name__ == "__main__":
    main()
