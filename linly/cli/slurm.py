"""`linly slurm`: a batch script that trains a recipe on several nodes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from linly.errors import ConfigError

_TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){1,2}")
_WORD = re.compile(r"[\w.+:,=-]+")

SCRIPT = """\
#!/usr/bin/env bash
# Trains {recipe} on {nodes} nodes of {gpus} GPUs.
# Submit it by sbatch from the folder in which it was printed. That folder, the Python environment,
# the data and the run folder must be on a file system that all nodes share.
{settings}
set -euo pipefail

cd "${{SLURM_SUBMIT_DIR}}"
export PATH={programs}:"${{PATH}}"

code=0
srun --kill-on-bad-exit=1 linly train {arguments} || code=$?

# 75: saved before the time limit. The same command resumes from the newest complete checkpoint.
if [[ ${{code}} -eq 75 ]]; then
  scontrol requeue "${{SLURM_JOB_ID}}"
fi
exit "${{code}}"
"""


def register(app: typer.Typer) -> None:
    """Add `linly slurm`."""
    app.command("slurm")(slurm)


def slurm(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override recipe values.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=1 << 20, help="Nodes of the job.")] = 1,
    gpus_per_node: Annotated[
        int, typer.Option(min=1, max=1024, help="GPUs, and thus ranks, per node.")
    ] = 8,
    cpus_per_gpu: Annotated[int, typer.Option(min=1, max=1024, help="Cores for each rank.")] = 8,
    time: Annotated[str, typer.Option(help="Time limit: [DAYS-]HH:MM[:SS].")] = "24:00:00",
    grace_s: Annotated[
        int,
        typer.Option(
            min=1, max=86400, help="Seconds before the time limit at which the run saves."
        ),
    ] = 120,
    partition: Annotated[str | None, typer.Option(help="Slurm partition.")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm account.")] = None,
) -> None:
    """Print a batch script that saves before the time limit and requeues itself.

    Fail if the recipe's global batch cannot be divided among the ranks.
    """
    from linly.config.recipe import load_recipe
    from linly.curriculum.run_plan import Batch
    from linly.data.loading.ranks import check_world_size

    loaded = load_recipe(recipe, overrides or [])
    batch = Batch(loaded.data.global_batch, loaded.training.micro_batch)
    check_world_size(batch, nodes * gpus_per_node)
    _check(_TIME, time, "--time", "[DAYS-]HH:MM[:SS], such as 24:00:00")
    for option, value in (("--partition", partition), ("--account", account)):
        if value is not None:
            _check(_WORD, value, option, "a name")
    settings = {
        "job-name": re.sub(r"[^\w.-]", "-", loaded.run.name),
        "nodes": nodes,
        "ntasks-per-node": gpus_per_node,
        "gpus-per-node": gpus_per_node,
        "cpus-per-task": cpus_per_gpu,
        "time": time,
        "signal": f"TERM@{grace_s}",
        "partition": partition,
        "account": account,
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in settings.items() if value is not None]
    lines += ["#SBATCH --requeue", "#SBATCH --open-mode=append"]
    arguments = shlex.join([str(recipe), *(overrides or [])])
    script = SCRIPT.format(
        recipe=_one_line(str(recipe)),
        nodes=nodes,
        gpus=gpus_per_node,
        settings="\n".join(lines),
        programs=_programs(),
        arguments=arguments,
    )
    typer.echo(script, nl=False)


def _check(form: re.Pattern[str], text: str, option: str, allowed: str) -> None:
    if form.fullmatch(text) is None:
        raise ConfigError(f"{option}: found {text!r}, allowed: {allowed}")


def _programs() -> str:
    """Return the folder of this environment's programs, as the script writes it."""
    folder, here = Path(sys.executable).parent, Path.cwd()
    if here in folder.parents:
        return f'"${{PWD}}"/{shlex.quote(str(folder.relative_to(here)))}'
    return shlex.quote(str(folder))


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
