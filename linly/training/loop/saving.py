"""Saving of a run: checkpoints during training, noted in the run's events, and mirrored."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linly.config.recipe import Recipe
from linly.errors import LinlyError
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.state_form import STATE_VERSION
from linly.training.engine.engine import Engine
from linly.training.loop.training_state import TrainingState
from linly.training.ranks.processes import Processes
from linly.training.recording.recorder import Recorder

_MIRROR_WAIT_S = 5.0


class Saver:
    """Saves a run and notes each complete checkpoint, so that it can be mirrored."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        recorder: Recorder,
        processes: Processes,
        *,
        recipe: Recipe,
        model: Mapping[str, str],
        saved_step: int,
    ) -> None:
        """Save to `checkpoints`, and copy what the mirror lacks.

        Args:
            checkpoints: Checkpoints of the run.
            recorder: Recorder of the run.
            processes: Processes of the run.
            recipe: Recipe of the run.
            model: Identity of the model.
            saved_step: Step of the checkpoint that the run resumes from; 0 at a fresh start.
        """
        self._checkpoints = checkpoints
        self._mirror = checkpoints.mirror
        self._recorder = recorder
        self._processes = processes
        self._is_async = recipe.checkpoint.is_async
        self._fixed = {
            "version": STATE_VERSION,
            "world_size": processes.world_size,
            "recipe": recipe.file_form(),
            "model": dict(model),
        }
        self.saved_step = saved_step
        if self._mirror is not None:
            self._mirror.begin()

    @property
    def has_failed(self) -> bool:
        """Whether the pending checkpoint has failed and `finish` will raise; not a collective."""
        return self._checkpoints.has_failed

    def check_room(self, engine: Engine) -> None:
        """Check before the first step that a checkpoint will fit on the disk; a collective.

        Raises:
            LinlyError: If it will not; on all ranks.
        """
        self._checkpoints.check_room(engine)

    def save(self, engine: Engine, state: TrainingState, data_state: Mapping[str, Any]) -> None:
        """Write the run's records and begin a checkpoint; a collective.

        Raises:
            LinlyError: If the previous checkpoint could not be written.
        """
        self.finish()
        with self._processes.together("writing the run's records"):
            self._recorder.sync()
        content = self._fixed | state.state_dict()
        content |= {"optimizer_steps": engine.optimizer_steps(), "data": data_state}
        content["part_steps"] = engine.part_steps()
        if engine.average is not None:
            content["average"] = engine.average.state_dict()
        self._checkpoints.begin(engine, state.step, content)
        self.saved_step = state.step
        if not self._is_async:
            self.finish()

    def finish(self) -> None:
        """Wait for the pending checkpoint, if any.

        Raises:
            LinlyError: If it could not be written.
        """
        self._note(self._checkpoints.wait())

    def note_progress(self) -> None:
        """Record a completed checkpoint and finished copies, if any; not a collective."""
        self._note(self._checkpoints.published())
        for copied in self._mirror.take_results() if self._mirror is not None else ():
            text = f"{copied.name} was copied"
            if copied.problem is not None:
                text = f"{copied.name} could not be copied: {copied.problem}"
                self._recorder.warning(f"mirror: {text}; it is retried after the next save")
            self._recorder.event("mirror", text)

    def finish_mirror(self, *, patience_s: float) -> None:
        """Wait until the run is mirrored, and warn of checkpoints that are not; a collective.

        Args:
            patience_s: Maximum seconds to wait.
        """
        deadline = time.monotonic() + patience_s
        if self._mirror is not None:
            self._mirror.begin()
        is_over = False
        while not is_over:  # short waits, so that no rank appears hung
            here = self._mirror is None or self._mirror.wait(_MIRROR_WAIT_S)
            is_over = all(self._processes.gather_json(here or time.monotonic() > deadline))
        if self._mirror is not None:
            self._mirror.close()
            self.note_progress()
            if missing := self._mirror.missing():
                place = self._mirror.place
                self._recorder.warning(f"not in the mirror {place}: {', '.join(missing)}")

    def close(self) -> None:
        """Complete the pending checkpoint, also after an error of training; not a collective.

        A failure to write the checkpoint is only a warning, so that it does not hide that error.
        """
        try:
            self.finish()
        except (LinlyError, RuntimeError) as error:
            print(f"warning: the pending checkpoint was lost: {error}", file=sys.stderr)
        if self._mirror is not None:
            self._mirror.close()

    def _note(self, folder: Path | None) -> None:
        if folder is not None:
            self._recorder.checkpoint(folder)
            if self._mirror is not None:
                self._mirror.begin()
