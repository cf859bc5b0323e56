"""Fork of a run: a new run that shares the past up to a checkpoint.

    RUN/checkpoints/step-N, records up to step N, decisions in force, pinned lists
        -> a temporary folder beside NEW -> (an amendment) -> NEW

Files that are never modified are hard-linked if the file system allows it, so that a fork of a
large checkpoint takes no space. The rest is copied and truncated to the step. NEW is published
complete or not at all. Steps may be skipped: their rows are consumed but not trained on, so that
sources and ratios continue unchanged. Skipped steps count in the stream and in the learning rate
schedule, so that a step has the same rows in both runs.

With `decay` the new run is an annealing branch: its learning rate decays from the step on, and it
ends after these tokens, on the same curves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from linly.config.curriculum import Curriculum
from linly.config.sections.schedule_setting import Annealing
from linly.config.yaml.strict_model import check_name
from linly.curriculum.timeline import decisions_in_force, resume_decision
from linly.errors import ConfigError
from linly.modeling.stored.folder import new_folder
from linly.runs.run_places import enclosing_run
from linly.runs.runs import KEPT_WHOLE, LOGS, PINNED, RunFolder
from linly.training.changes.amendment import Amendment, plan_amendment, write_amendment
from linly.training.changes.annealing import annealing_from, check_schedule, with_annealing
from linly.training.changes.pinned_inputs import write_recipe
from linly.training.changes.run_at_checkpoint import RunAtCheckpoint, run_at_checkpoint
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.manifest import MANIFEST, folder_name, verified

Steps = tuple[int, int]
"""First and last step."""


def fork_run(
    source: RunFolder,
    target: Path,
    *,
    step: int,
    curriculum: Curriculum | None = None,
    skip_steps: Sequence[Steps] = (),
    decay: int | None = None,
) -> tuple[RunAtCheckpoint, Amendment | None]:
    """Create a run that continues from a checkpoint of another, which may still be training.

    Args:
        source: Run to start from.
        target: Folder of the new run.
        step: Step of the checkpoint.
        curriculum: Curriculum of the new run; None keeps the one in force at the step.
        skip_steps: Steps after `step` to skip: their rows are consumed but not trained on.
        decay: Tokens over which the learning rate of the new run decays to its end; None to
            continue with the schedule.

    Returns:
        The new run at the checkpoint, and the amendment by its curriculum, if any.

    Raises:
        ConfigError: If the folder exists or is inside a run's folder, or steps to skip are not
            ahead of the checkpoint, or its learning rate at the step is not stable.
        CheckpointError: If there is no complete checkpoint of the step.
        LinlyError: If `plan_amendment` refuses the curriculum.
    """
    _check_target(target)
    checkpoint, manifest = verified(source.checkpoints, step)
    with new_folder(target) as folder:
        run = RunFolder.create_or_open(folder)
        for name in PINNED:
            _link_all(source.path / name, folder / name)
        names = [*manifest.files, MANIFEST]
        _link(checkpoint, folder / "checkpoints" / folder_name(step), names)
        _copy_records(source, run, step)
        shutil.copyfile(source.path / "recipe.yaml", folder / "recipe.yaml")
        _copy_decisions(source, run, step)
        at = run_at_checkpoint(run)
        annealing = None if decay is None else annealing_from(at.recipe, step, decay)
        line = _fork_line(source, at, skip_steps, annealing)
        _decide(source, run, line)
        timeline = at.timeline.with_decision(line)
        at = replace(at, timeline=timeline, recipe=with_annealing(at.recipe, timeline))
        amendment, recipe = None, at.recipe
        if curriculum is not None:
            amendment = plan_amendment(run, curriculum)
            recipe = amendment.recipe
            write_amendment(run, amendment)
        check_schedule(recipe)
        _check_steps(step, recipe.num_steps, skip_steps)
        write_recipe(run, recipe.model_copy(update={"run": target.absolute()}))
        run.fsync()
        run.close()
    return at, amendment


def _check_target(target: Path) -> None:
    elsewhere = "choose another folder"
    try:
        check_name(target.name, "run")
    except ValueError as error:
        raise ConfigError(f"--run {target}: {error}") from error
    outer = enclosing_run(target)
    if outer is not None:
        raise ConfigError(f"--run {target}: is inside the folder of a run, {outer}; {elsewhere}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"--run {target}: exists and is not an empty folder; {elsewhere}")


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
    """Create hard links, or copies if the file system cannot link (such as across disks)."""
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
    """Copy the logs and the row record up to a step."""
    for name in LOGS:
        if name not in KEPT_WHOLE and (source.path / f"{name}.jsonl").is_file():
            shutil.copyfile(source.path / f"{name}.jsonl", run.path / f"{name}.jsonl")
    parts = [path.name for first, _, path in source.row_parts() if first <= step]
    _link(source.rows, run.rows, parts)
    run.truncate(step)


def _copy_decisions(source: RunFolder, run: RunFolder, step: int) -> None:
    """Copy the decisions in force at the step."""
    state = read_state(run.checkpoints / folder_name(step))
    here = resume_decision(step, evaluated_step=state["evaluated_step"])
    for line in decisions_in_force([*source.read("decisions"), here])[:-1]:
        run.append("decisions", line)


def _fork_line(
    source: RunFolder,
    at: RunAtCheckpoint,
    skip_steps: Sequence[Steps],
    annealing: Annealing | None,
) -> dict[str, Any]:
    """Line of decisions.jsonl of a fork."""
    line: dict[str, Any] = {
        "step": at.step,
        "kind": "fork",
        "run": str(source.path.resolve()),
        "skip_steps": [list(steps) for steps in skip_steps],
    }
    if annealing is not None:
        last_step = annealing.last_step(at.recipe.step_tokens)
        end = {"end_row": last_step * at.recipe.data.global_batch}
        line["annealing"] = annealing.file_form() | end
    return line


def _decide(source: RunFolder, run: RunFolder, line: Mapping[str, Any]) -> None:
    """Write the decision of the fork, and its event."""
    step = line["step"]
    run.append_decision(line)
    passed = "".join(f", skipping steps {first}-{last}" for first, last in line["skip_steps"])
    decay = line.get("annealing")
    ends = f", to end with a decay over {decay['tokens']} tokens" if decay else ""
    run.append_event(step, "fork", f"forked from step {step} of {source.path}{passed}{ends}")
