"""Checkpoints of a run: saved atomically by all ranks, and loaded at any world size.

Each rank copies the parameters that it writes to host memory and continues training. A thread
writes them into a hidden folder. After all ranks have written, the manifest is written last and the
folder is renamed. A crash leaves only hidden folders, which are removed before the next save.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import load_file, save_file

from linly.config.sections.saving_sections import CheckpointSettings
from linly.errors import CheckpointError, LinlyError
from linly.files import fsync_directory, publish
from linly.training.checkpoints.checkpoint_files import (
    STATE,
    named_buffers,
    read_buffers,
    read_parameter,
)
from linly.training.checkpoints.disk import (
    as_checkpoint_error,
    check_space,
    free_name,
    fsync_file,
    remove,
)
from linly.training.checkpoints.manifest import (
    FileEntry,
    Manifest,
    folder_name,
    list_checkpoints,
    no_whole_checkpoint,
    step_of,
)
from linly.training.checkpoints.mirror import Mirror
from linly.training.checkpoints.rank_snapshot import RankSnapshot, RankSnapshots
from linly.training.checkpoints.replicas import check_replicas
from linly.training.engine.engine import Engine
from linly.training.engine.randomness import restore_random_states
from linly.training.ranks.processes import Processes


class Checkpoints:
    """The checkpoints of a run; all methods are collectives unless documented otherwise.

    Attributes:
        mirror: Mirror of the run; None without one, and on all ranks but 0.
    """

    def __init__(
        self,
        folder: Path,
        processes: Processes,
        settings: CheckpointSettings,
        mirror: Mirror | None = None,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        """Manage the checkpoints in `folder`, which must exist.

        Args:
            folder: Checkpoints of one run.
            processes: Processes that train the run.
            settings: Settings of the recipe.
            mirror: Mirror of the run, on rank 0.
            check_lock: Function that raises if this process no longer holds the run; called before
                every change.
        """
        self._folder = folder
        self._processes = processes
        self._settings = settings
        self.mirror = mirror
        self._check_lock = check_lock
        self._snapshots = RankSnapshots(processes)
        self._background = processes.for_background_thread()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._under_way: Future[Path] | None = None

    # -- saving -------------------------------------------------------------------------------

    def check_room(self, engine: Engine) -> None:
        """Check before the first step that a checkpoint will fit on the disk; a collective.

        Raises:
            LinlyError: If it will not; on all ranks.
        """
        sizes = (parameter.numel() for parameter in engine.parameters().values())
        with self._processes.together("looking for room for a checkpoint"):
            if self._processes.is_first:
                self._remove_leftovers()
                check_space(self._folder, engine.state_bytes_per_parameter * sum(sizes))

    def begin(self, engine: Engine, step: int, state: dict[str, Any]) -> None:
        """Copy weights, moments, random states and `state` (JSON), and save them in a thread.

        The checkpoint has the current values, even if training changes them during the save. Call
        `wait` before the next `begin`.

        Raises:
            TrainingError: If ranks hold different weights; on all ranks.
        """
        assert self._under_way is None, "the last checkpoint was not waited for"
        weights = dict(engine.module.named_parameters())
        check_replicas(weights, self._processes, doing=f"the checkpoint of step {step}")
        snapshot = self._snapshots.take(engine)
        encoded = orjson.dumps(state, option=orjson.OPT_SERIALIZE_NUMPY)
        self._under_way = self._thread.submit(self._save, step, snapshot, encoded)

    @property
    def has_failed(self) -> bool:
        """Whether the pending checkpoint has failed and `wait` will raise; not a collective."""
        return self._is_done() and self._under_way.exception() is not None  # type: ignore[union-attr]

    def published(self) -> Path | None:
        """The pending checkpoint once it is complete, returned once; not a collective."""
        return self.wait() if self._is_done() and not self.has_failed else None

    def wait(self) -> Path | None:
        """Wait for the pending checkpoint, if any; it succeeds or fails on all ranks.

        Returns:
            Its folder; None if there is none, or its folder was returned before.

        Raises:
            LinlyError: If a rank could not write its part; earlier checkpoints are unchanged.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return None
        with self._processes.waiting("the pending checkpoint"):
            wait([under_way])
        if not self._settings.is_async:
            self._snapshots.release()
        return under_way.result()

    def save(self, engine: Engine, step: int, state: dict[str, Any]) -> Path:
        """Save a checkpoint and wait for it.

        Raises:
            LinlyError: If a rank could not write its part.
        """
        self.begin(engine, step, state)
        folder = self.wait()
        assert folder is not None
        return folder

    def _is_done(self) -> bool:
        return self._under_way is not None and self._under_way.done()

    def _save(self, step: int, snapshot: RankSnapshot, state: bytes) -> Path:
        """Write a snapshot and publish it; runs in a thread on every rank."""
        ranks, what = self._background, f"checkpoint {folder_name(step)}"
        partial = self._folder / f".{folder_name(step)}.partial"
        size_bytes = sum(ranks.gather_json(snapshot.size_bytes)) + len(state)
        try:
            with ranks.together(what):
                if ranks.is_first:
                    self._prepare(partial, size_bytes)
            entries: dict[str, FileEntry] = {}
            with ranks.together(what):
                entries = self._write_part(partial, snapshot)
            parts = ranks.gather_json(
                {
                    "files": {name: [e.size_bytes, e.sha256] for name, e in entries.items()},
                    "parameters": snapshot.parameters,
                }
            )
            with ranks.together(what):
                if ranks.is_first:
                    self._publish(partial, step, state, parts)
        except BaseException:
            if ranks.is_first:
                with suppress(LinlyError):  # another process may be writing a folder of that name
                    self._check_lock()
                    shutil.rmtree(partial, ignore_errors=True)
            raise
        return self._folder / folder_name(step)

    def _prepare(self, partial: Path, size_bytes: int) -> None:
        with as_checkpoint_error(partial):
            self._remove_leftovers()
            check_space(self._folder, size_bytes)
            partial.mkdir()

    def _remove_leftovers(self) -> None:
        """Remove hidden folders left by failed saves and interrupted removals."""
        self._check_lock()
        for path in self._folder.glob(".step-*"):
            remove(path)

    def _write_part(self, partial: Path, snapshot: RankSnapshot) -> dict[str, FileEntry]:
        entries = {}
        rank = self._processes.rank
        for name, tensors in (
            (f"rank-{rank:05d}.safetensors", snapshot.tensors | named_buffers(snapshot.buffers)),
            (f"random-{rank:05d}.safetensors", snapshot.random),
        ):
            with as_checkpoint_error(partial / name):
                save_file(tensors, partial / name)
                fsync_file(partial / name)
                entries[name] = FileEntry.of(partial / name)
        return entries

    def _publish(self, partial: Path, step: int, state: bytes, parts: list[dict[str, Any]]) -> None:
        with as_checkpoint_error(partial):
            publish(partial / STATE, state)
            files = {STATE: FileEntry.of(partial / STATE)}
            for part in parts:
                files.update({name: FileEntry(*entry) for name, entry in part["files"].items()})
            parameters = {
                name: f"rank-{rank:05d}.safetensors"
                for rank, part in enumerate(parts)
                for name in part["parameters"]
            }
            Manifest(step, files, parameters).write(partial)
            fsync_directory(partial)
            self._check_lock()
            target = self._folder / folder_name(step)
            if target.exists():  # damaged, or the run would have resumed after it
                target.rename(self._folder / f".{target.name}.replaced")
            partial.rename(target)
            fsync_directory(self._folder)
            self._remove_leftovers()
            self._retain()

    def _retain(self) -> None:
        """Remove old checkpoints; called after the newest has been published."""
        in_use = self.mirror.in_use if self.mirror is not None else None
        found = [path for path in list_checkpoints(self._folder) if path.name != in_use]
        for step in superseded(map(step_of, found), self._settings):
            old = self._folder / folder_name(step)
            hidden = old.rename(self._folder / f".{old.name}.removing")
            remove(hidden)

    # -- finding ------------------------------------------------------------------------------

    def newest(self) -> Path | None:
        """The newest complete checkpoint; damaged ones are skipped with a warning.

        Returns:
            The folder of the checkpoint; None if there are no checkpoints.

        Raises:
            CheckpointError: If there are checkpoints, but none is complete.
        """
        steps = self._steps()
        problems = []
        for step in steps:
            problem = self._damage(self._folder / folder_name(step))
            if problem is None:
                return self._folder / folder_name(step)
            problems.append(problem)
            if self._processes.is_first:
                print(f"warning: checkpoint skipped: {problem}", file=sys.stderr)
        if steps:
            raise no_whole_checkpoint(self._folder, None, problems)
        return None

    def of_step(self, step: int) -> Path:
        """The checkpoint of one step.

        Raises:
            CheckpointError: If it is missing or damaged.
        """
        folder = self._folder / folder_name(step)
        if step not in self._steps():
            raise no_whole_checkpoint(self._folder, step, [])
        problem = self._damage(folder)
        if problem is not None:
            raise no_whole_checkpoint(self._folder, step, [problem])
        return folder

    def set_aside_after(self, step: int) -> list[str]:
        """Rename the checkpoints of later steps, so that the run no longer uses them.

        Returns:
            Their new names.
        """
        names = []
        with self._processes.together("setting later checkpoints aside"):
            self._check_lock()
            for path in list_checkpoints(self._folder):
                if self._processes.is_first and step_of(path) > step:
                    aside = free_name(self._folder / f"abandoned-{path.name}")
                    names.append(path.rename(aside).name)
        return names

    def _steps(self) -> list[int]:
        steps: list[int] = self._processes.gather_json(
            [step_of(path) for path in list_checkpoints(self._folder)]
        )[0]
        return steps

    def _damage(self, folder: Path) -> str | None:
        """Description of a checkpoint's damage, or None; the ranks share the hashing."""
        try:
            manifest = Manifest.read(folder)
            mine = sorted(manifest.files)[self._processes.rank :: self._processes.world_size]
            problem = manifest.damage(folder, mine)
        except CheckpointError as error:
            problem = str(error)
        return next((p for p in self._processes.gather_json(problem) if p is not None), None)

    # -- loading ------------------------------------------------------------------------------

    def load(
        self,
        folder: Path,
        engine: Engine,
        *,
        optimizer_steps: int,
        part_steps: Mapping[str, int] | None = None,
    ) -> None:
        """Load a verified checkpoint's weights, moments, averages, buffers and random states.

        Each rank reads only the parameters of its share of the optimizer.

        Args:
            folder: Folder of the checkpoint.
            engine: Engine to load it into.
            optimizer_steps: Number of applied steps.
            part_steps: Number of applied steps of each part; by default `optimizer_steps`.

        Raises:
            CheckpointError: If the checkpoint's parameters do not match the model.
        """
        with self._processes.together(f"loading {folder}"):
            manifest = Manifest.read(folder)
            _check_parameters(folder, manifest, engine)
            for name, parameter in engine.parameters().items():
                if engine.owns(parameter):
                    path = folder / manifest.parameters[name]
                    state = read_parameter(path, name, engine.state_keys)
                    if state["master"].shape != parameter.shape:
                        raise CheckpointError(
                            f"{folder}: {name} has shape {tuple(state['master'].shape)}, "
                            f"in the model {tuple(parameter.shape)}"
                        )
                    engine.set_state(parameter, state)
            if buffers := read_buffers(folder):
                _check_buffers(folder, buffers, engine.buffers())
                engine.set_buffers(buffers)
            random = f"random-{self._processes.rank:05d}.safetensors"
            if random in manifest.files:  # a larger world has ranks without saved states
                restore_random_states(load_file(folder / random))
        with self._processes.waiting(f"loading {folder}"):
            engine.finish_loading(optimizer_steps=optimizer_steps, part_steps=part_steps)


def superseded(steps: Iterable[int], settings: CheckpointSettings) -> list[int]:
    """Steps whose checkpoints are no longer kept: neither the newest nor a milestone.

    A milestone is the first checkpoint at or after a multiple of `keep_every`, so that any pair of
    `every` and `keep_every` works.
    """
    ascending = sorted(steps)
    milestones: dict[int, int] = {}
    if settings.keep_every is not None:
        for step in ascending:
            milestones.setdefault(step // settings.keep_every, step)
        milestones.pop(0, None)
    old = ascending[: -settings.keep_last]
    return [step for step in old if step not in milestones.values()]


def _check_parameters(folder: Path, manifest: Manifest, engine: Engine) -> None:
    saved, wanted = set(manifest.parameters), set(engine.parameters())
    if saved != wanted:
        raise CheckpointError(
            f"{folder}: parameters of another model: not in the checkpoint "
            f"{sorted(wanted - saved)[:3]}, not in the model {sorted(saved - wanted)[:3]}"
        )


def _check_buffers(
    folder: Path, saved: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> None:
    forms = [{name: (b.dtype, b.shape) for name, b in side.items()} for side in (saved, own)]
    if forms[0] != forms[1]:
        other = sorted(name for name, _ in forms[0].items() ^ forms[1].items())
        raise CheckpointError(f"{folder}: buffers of another model: {', '.join(other[:3])}")
