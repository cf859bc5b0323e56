"""`linly launch`: a recipe trained in several processes, on one machine or more."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from linly.cli.train import Quiet, Resume
from linly.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("launch")(launch)


def launch(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]... [-- OPTION...]",
            help="Override recipe values; options of DeepSpeed's launcher.",
        ),
    ] = None,
    nproc: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Processes on this machine (default: one on each of its GPUs)."
        ),
    ] = None,
    hostfile: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Machines to train on instead, one a line: NAME slots=GPUS.",
        ),
    ] = None,
    resume: Resume = None,
    quiet: Quiet = False,
) -> None:
    """Train a recipe in several processes; the same command resumes it.

    DeepSpeed's launcher starts `linly train` on each GPU. The machines of a hostfile need this
    environment and these files at the same paths, ssh without a password, and pdsh here.

    Exit code 75: stopped by SIGTERM, with a checkpoint saved.
    """
    from linly.config.recipe import load_recipe
    from linly.curriculum.run_plan import Batch
    from linly.data.loading.ranks import check_world_size
    from linly.training.ranks.hostfile import read_hostfile
    from linly.training.ranks.job import launcher_command, run_job

    overrides, options = _split(words or [])
    loaded = load_recipe(recipe, overrides)
    if nproc is not None and hostfile is not None:
        raise ConfigError("found --nproc and --hostfile, allowed: one of them")
    hosts = {} if hostfile is None else read_hostfile(hostfile)
    num_ranks = sum(hosts.values()) or nproc
    if num_ranks is not None and not options:  # which may choose other ranks or another launcher
        check_world_size(Batch(loaded.data.global_batch, loaded.training.micro_batch), num_ranks)
        _check_pdsh(hosts)
    if hostfile is not None and not any(word.startswith("data_root=") for word in overrides):
        overrides.append(f"data_root={loaded.data_root}")  # no variable of ours is set there
    arguments = [str(recipe), *overrides]
    arguments += [] if resume is None else ["--resume", resume]
    arguments += ["--quiet"] if quiet else []
    if hostfile is not None:
        _check_words(arguments)
    command = launcher_command(
        arguments,
        nproc=nproc,
        hostfile=hostfile,
        options=options,
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    )
    _choose_accelerator()
    sys.exit(run_job(command))


def _choose_accelerator() -> None:
    """Tell the launcher of a machine without GPUs to use the CPU, or it prints warnings."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):  # importing torch takes seconds
        from linly.modeling.accelerator import choose_accelerator

        choose_accelerator()


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Split words into overrides and, from the first dash on, options of the launcher."""
    first = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first], words[first:]


def _check_pdsh(hosts: Mapping[str, int]) -> None:
    if len(hosts) > 1 and shutil.which("pdsh") is None:
        raise ConfigError(
            "--hostfile: pdsh, which starts the ranks of other machines, is not installed here; "
            "install it, or choose another launcher, such as `-- --launcher openmpi`"
        )


def _check_words(words: list[str]) -> None:
    """Refuse words that the shells of other machines would change: the launcher quotes none."""
    for word in words:
        if shlex.quote(word) != word:
            raise ConfigError(
                f"found {word!r} with --hostfile, allowed: letters, digits and @%+=:,./-_, since "
                "shells on the other machines read it; write the value into a recipe instead"
            )
