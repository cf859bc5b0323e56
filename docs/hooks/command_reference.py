"""Reference page of the commands, from the program itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from linly.cli.main import build_app

_INTRODUCTION = """\
# Commands

Every command prints this help with `--help`. Errors go to standard error with exit code 1; a wrong
option exits with 2. `linly train` exits with 75 when SIGTERM stopped it and a checkpoint was saved.
"""


def commands_page() -> str:
    """Write the page: a section for each command, with a table of its parameters."""
    root = typer.main.get_command(build_app())
    lines = [_INTRODUCTION]
    for words, command in _commands(root, ()):
        lines += [f"## linly {' '.join(words)} {{ #{'-'.join(words)} }}", ""]
        lines += [inspect.cleandoc(command.help or ""), ""]
        lines += ["```sh", " ".join(["linly", *words, *_usage(command)]), "```", ""]
        rows = [_row(parameter) for parameter in _shown(command)]
        if rows:
            lines += ["| parameter | meaning | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Iterate over the commands of a group, and of the groups in it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, one in inner.items():
        yield from _commands(one, (*words, name))


def _shown(command: Any) -> list[Any]:
    return [
        parameter
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and parameter.name != "help"
    ]


def _usage(command: Any) -> list[str]:
    """Return the arguments, required options, and `[OPTIONS]` if there are others."""
    shown = _shown(command)
    arguments = [_argument(p) for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    required = [f"{p.opts[0]} {(p.name or '').upper()}" for p in options if p.required]
    return [*arguments, *required, *(["[OPTIONS]"] if len(required) < len(options) else [])]


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or (parameter.name or "").upper())


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{_argument(parameter)}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = "required" if parameter.required else _default(parameter)
    cells = [names, getattr(parameter, "help", "") or "", default]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(parameter: Any) -> str:
    default = parameter.default
    if default is None or isinstance(default, bool):
        return "on" if default else ""
    values = default if isinstance(default, list | tuple) else [default]
    return ", ".join(f"`{getattr(value, 'value', value)}`" for value in values)
