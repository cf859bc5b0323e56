"""Restore of a run from its mirror: records, and a verified checkpoint."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from linly.errors import CheckpointError, ConfigError, LinlyError
from linly.files import inside
from linly.modeling.stored.folder import new_folder
from linly.runs.run_places import enclosing_run
from linly.runs.runs import LOGS, RunFolder
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.checkpoints.manifest import MANIFEST, Manifest, folder_name, noted_checkpoints
from linly.training.checkpoints.mirror import CHECKPOINTS, DECISIONS, is_noted
from linly.training.checkpoints.mirror_place import MirrorPlace


def restore_run(mirror: str, target: Path, *, step: int | None = None) -> int:
    """Restore a run from its mirror; the folder is published complete or not at all.

    Records of steps after the checkpoint are left out, as a resume would remove them.

    Args:
        mirror: Folder or s3:// URL of the run's mirror, PLACE/NAME.
        target: Folder of the run to create; must be missing or empty.
        step: Step of the checkpoint to restore; None for the newest complete one.

    Returns:
        The step of the checkpoint.

    Raises:
        ConfigError: If `target` is not empty, or is inside another run's folder.
        CheckpointError: If the place is not a mirror, its records are damaged, or it has no
            complete checkpoint, or none of the step.
    """
    outer = enclosing_run(target)
    if outer is not None:
        raise ConfigError(f"{target}: is inside the folder of a run, {outer}; choose another")
    there = MirrorPlace(mirror)
    names = there.names()
    if DECISIONS not in names:
        found = f"{len(names):,} files, such as {names[0]}" if names else "nothing"
        raise CheckpointError(
            f"{mirror}: is not the mirror of a run: it has no {DECISIONS}; found {found}. Give the "
            "place that checkpoint.mirror names, and the run's name: PLACE/NAME"
        )
    with new_folder(target) as folder:
        run = RunFolder.create_or_open(folder)
        for name in names:
            if not name.startswith(f"{CHECKPOINTS}/"):
                there.get(name, inside(folder, name))
        try:
            recorded_step = _check_records(run)
        except LinlyError as error:
            text = str(error).replace(str(folder), there.place)
            raise CheckpointError(f"{mirror}: its records are damaged: {text}") from error
        restored_step = _bring_checkpoint(there, names, run, step)
        if restored_step > recorded_step:
            raise CheckpointError(
                f"{mirror}: its records end at step {recorded_step}, before its checkpoint of "
                f"step {restored_step}: take an earlier one with --step"
            )
        state = read_state(run.checkpoints / folder_name(restored_step))
        run.truncate(restored_step, evaluated_step=state["evaluated_step"])
    return restored_step


def _check_records(run: RunFolder) -> int:
    """Read every record, and return the last step that all records reach."""
    last = {name: max((line["step"] for line in run.read(name)), default=0) for name in LOGS}
    in_rows = 0
    try:
        for table in run.read_rows():
            in_rows = max(in_rows, *table["step"].to_pylist())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run.rows}: {error}") from error
    return min(last["metrics"], in_rows)


def _bring_checkpoint(
    there: MirrorPlace, names: list[str], run: RunFolder, step: int | None
) -> int:
    """Copy and verify the newest complete checkpoint that the records name."""
    noted = noted_checkpoints(run)
    manifests = {
        name.split("/")[1]: name
        for name in names
        if name.startswith(f"{CHECKPOINTS}/") and name.endswith(f"/{MANIFEST}")
    }
    asked = manifests.keys() & noted.keys()
    if step is not None:
        asked &= {folder_name(step)}
    problems = []
    for name in sorted(asked, key=lambda name: int(name.removeprefix("step-")), reverse=True):
        folder = run.checkpoints / name
        try:
            return _bring(there, folder, noted)
        except CheckpointError as error:
            problems.append(str(error))
            print(f"warning: checkpoint skipped: {error}", file=sys.stderr)
            shutil.rmtree(folder)
    what = "a complete checkpoint" if step is None else folder_name(step)
    found = "; ".join(problems) or ", ".join(sorted(manifests.keys() & noted.keys())) or "none"
    raise CheckpointError(f"{there.place}: {what} was requested; found {found}")


def _bring(there: MirrorPlace, folder: Path, noted: dict[str, str | None]) -> int:
    base = f"{CHECKPOINTS}/{folder.name}"
    there.get(f"{base}/{MANIFEST}", folder / MANIFEST)
    if not is_noted(noted, folder.name, (folder / MANIFEST).read_bytes()):
        raise CheckpointError(f"{folder.name}: is not the one that the run's records name")
    manifest = Manifest.read(folder)
    try:
        for name in manifest.files:
            there.get(f"{base}/{name}", folder / name)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder.name}: {name} is missing") from error
    problem = manifest.damage(folder, sorted(manifest.files))
    if problem is not None:
        raise CheckpointError(problem)
    return manifest.step
