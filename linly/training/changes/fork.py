"""Another run from a checkpoint of one: the same past, and a future of its own.

    RUN/checkpoints/step-N, records up to step N, decisions that hold there, frozen lists
        -> a temporary folder beside NEW -> (an amendment) -> NEW

What is never written again is linked where the file system allows it, so that a fork of a large
checkpoint costs no space; the rest is copied and cut back to the step. NEW appears whole or not at
all. Steps may be passed over: their rows are drawn, so that sources and ratios go on as they would
have, but not trained on. They count as steps, of the stream and of the learning rate's schedule, so
that a step's rows are the same in both runs.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from linly.config.curriculum import Curriculum
from linly.config.yaml.model import check_name
from linly.curriculum.decisions import resume_decision, standing
from linly.errors import ConfigError
from linly.modeling.stored.folder import new_folder
from linly.runs.runs import KEPT_WHOLE, LOGS, RunFolder, enclosing_run
from linly.training.changes.amend import Amendment, plan_amendment, write_amendment
from linly.training.changes.frozen import write_recipe
from linly.training.changes.standpoint import Standpoint, standpoint
from linly.training.checkpoints.manifest import MANIFEST, folder_name, verified
from linly.training.checkpoints.stored import read_state

FROZEN = ("shards", "held_out", "model")
"""Folders of a run whose files are replaced but never written to."""

Steps = tuple[int, int]
"""First and last."""


def fork_run(
    source: RunFolder,
    target: Path,
    *,
    step: int,
    curriculum: Curriculum | None = None,
    skip_steps: Sequence[Steps] = (),
) -> tuple[Standpoint, Amendment | None]:
    """Make a run that goes on from a checkpoint of another, which may be training meanwhile.

    Args:
        source: The run to start from.
        target: The new run's folder.
        step: Of the checkpoint.
        curriculum: To go on with; None keeps the one in force at the step.
        skip_steps: Whose rows are drawn and not trained on, all after `step`.

    Returns:
        Where the new run stands, and what its curriculum changes.

    Raises:
        ConfigError: The folder is there already or lies inside a run's, or steps are asked for
            that are not to come.
        CheckpointError: There is no whole checkpoint of the step.
        LinlyError: As `plan_amendment`.
    """
    _check_target(target)
    checkpoint, manifest = verified(source.checkpoints, step)
    with new_folder(target) as folder:
        run = RunFolder.create_or_open(folder)
        for name in FROZEN:
            _link_all(source.path / name, folder / name)
        names = [*manifest.files, MANIFEST]
        _link(checkpoint, folder / "checkpoints" / folder_name(step), names)
        _copy_records(source, run, step)
        shutil.copyfile(source.path / "recipe.yaml", folder / "recipe.yaml")
        _decide(source, run, step, skip_steps)
        at = standpoint(run)
        recipe = at.recipe.model_copy(update={"run": target.absolute()})
        write_recipe(run, recipe)
        amendment, num_steps = None, at.recipe.num_steps
        if curriculum is not None:
            amendment = plan_amendment(run, curriculum)
            _, num_steps = amendment.num_steps
            write_amendment(run, amendment)
        _check_steps(step, num_steps, skip_steps)
        run.fsync()
        run.close()
    return at, amendment


def _check_target(target: Path) -> None:
    elsewhere = "give the fork a folder of its own"
    try:
        check_name(target.name, "run")
    except ValueError as error:
        raise ConfigError(f"--run {target}: {error}") from error
    outer = enclosing_run(target)
    if outer is not None:
        raise ConfigError(f"--run {target}: lies inside the folder of a run, {outer}; {elsewhere}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"--run {target}: something is there already; {elsewhere}")


def _check_steps(step: int, num_steps: int, skip_steps: Sequence[Steps]) -> None:
    for first, last in skip_steps:
        if not step < first <= last <= num_steps:
            raise ConfigError(
                f"--skip-steps {first}-{last}: the fork begins after step {step} of "
                f"{num_steps}; allowed: A-B with {step + 1} <= A <= B <= {num_steps}"
            )


def _link_all(source: Path, target: Path) -> None:
    files = [path for path in source.rglob("*") if path.is_file()]
    target.mkdir(parents=True)
    _link(source, target, [str(path.relative_to(source)) for path in files])


def _link(source: Path, target: Path, names: Sequence[str]) -> None:
    """Hard links, or copies where the file system makes no link (another disk, no such links)."""
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, path)
        except OSError:
            shutil.copyfile(source / name, path)
            with path.open("rb") as copy:
                os.fsync(copy.fileno())


def _copy_records(source: RunFolder, run: RunFolder, step: int) -> None:
    """The logs and the row record up to a step."""
    for name in LOGS:
        if name not in KEPT_WHOLE and (source.path / f"{name}.jsonl").is_file():
            shutil.copyfile(source.path / f"{name}.jsonl", run.path / f"{name}.jsonl")
    parts = [path.name for first, _, path in source.row_parts() if first <= step]
    _link(source.rows, run.rows, parts)
    run.truncate(step)


def _decide(source: RunFolder, run: RunFolder, step: int, skip_steps: Sequence[Steps]) -> None:
    """The decisions that hold at the step, and that the run is a fork."""
    state = read_state(run.checkpoints / folder_name(step))
    here = resume_decision(step, evaluated_step=state["evaluated_step"])
    for line in standing([*source.read("decisions"), here])[:-1]:
        run.append("decisions", line)
    skipped = [list(steps) for steps in skip_steps]
    stamp = {"step": step, "time": time.time(), "kind": "fork"}
    origin = str(source.path.resolve())
    run.append("decisions", stamp | {"run": origin, "skip_steps": skipped})
    passed = "".join(f", passing over steps {first}-{last}" for first, last in skip_steps)
    text = f"forked from step {step} of {source.path}{passed}"
    run.append("events", stamp | {"text": text})
