"""The `linly` program: gathers one command from each module and prints the errors meant for users.

The modules are listed by name and import what is heavy (torch, transformers, plotly) in the body
of their commands, so that `linly plan` starts as fast as its own work allows.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import typer

from linly.errors import LinlyError

COMMAND_MODULES = (
    "plan",
    "check",
    "mix",
    "corpora",
    "vocab",
    "model",
    "train",
    "amend",
    "fork",
    "restore",
    "slurm",
    "export",
    "generate",
    "report",
    "monitor",
    "trace",
    "compare",
)
"""Modules of `linly.cli`, in the order of the help text; each has `register(app)`."""

_ROOM = "make room there or write to another disk"
_PLACE = "choose a place that this user may write"
_CURES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EIO: "look at the disk and its logs",
}
"""What to do about errors of the system, where there is something to do."""


def build_app() -> typer.Typer:
    """The program with every command registered."""
    app = typer.Typer(
        name="linly",
        help="Continual pre-training on a data mixture that moves along a curve.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name in COMMAND_MODULES:
        importlib.import_module(f"linly.cli.{name}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and leave by `sys.exit`.

    A `LinlyError` is an answer to the user: its text goes to stderr and the exit code is 1. So is
    what the system refuses (a full disk, a read-only folder). Anything else is a defect of ours
    and keeps its trace.

    Args:
        arguments: Instead of the process's own, without the program's name.
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
    """Bring what was printed to its place, so that what cannot be written is an error, too."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
        if not isinstance(error, BrokenPipeError):  # whoever reads has seen enough
            raise OSError(error.errno, error.strerror, "standard output") from error


def _described(error: OSError) -> str:
    """Such as `out/model: No space left on device; make room ...`."""
    name = error.filename2 or error.filename
    place = "" if name is None else f"{os.fsdecode(name)}: "
    reason = error.strerror or str(error) or type(error).__name__
    cure = _CURES.get(error.errno or 0)
    return f"{place}{reason}" + ("" if cure is None else f"; {cure}")


if __name__ == "__main__":
    main()
