"""The `linly` program: gathers one command from each module and prints the errors meant for users.

The modules are listed by name and import what is heavy (torch, transformers, plotly) in the body
of their commands, so that `linly plan` starts as fast as its own work allows.
"""

from __future__ import annotations

import importlib
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
    "slurm",
    "export",
    "generate",
    "report",
    "monitor",
    "trace",
    "compare",
)
"""Modules of `linly.cli`, in the order of the help text; each has `register(app)`."""


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
    a file that the system refuses. Anything else is a defect of ours and keeps its trace.

    Args:
        arguments: Instead of the process's own, without the program's name.
    """
    try:
        build_app()(args=None if arguments is None else list(arguments), prog_name="linly")
    except LinlyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
