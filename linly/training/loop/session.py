"""A run at a step, in the hands of one of its processes: what it holds, saves and records."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linly.config.recipe import Recipe, plain_recipe
from linly.curriculum.decisions import Course, follow
from linly.errors import LinlyError
from linly.evaluation.evaluation import Evaluator
from linly.files import sha256_file
from linly.runs.runs import RunFolder
from linly.tokenization.tokenizer import Tokenizer
from linly.training.checkpoints.checkpoints import Checkpoints
from linly.training.checkpoints.manifest import MANIFEST, noted_checkpoints, step_of
from linly.training.checkpoints.mirror import Mirror
from linly.training.checkpoints.state_form import STATE_VERSION
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes
from linly.training.recording.bookkeeping import Bookkeeper
from linly.training.recording.guards import Guards

_MIRROR_WAIT_S = 5.0


@dataclass(slots=True)
class Session:
    """A run at a step, in the hands of one of its processes.

    Attributes:
        recipe: With the curriculum in force.
        course: What the run's decisions make of it so far.
        step: Steps taken.
        baseline: Evaluation before the first step, by source; empty until it is made.
        latest: The last evaluation, by source.
        evaluated_step: Of the last evaluation; None before the first.
        data_state: Of the loader, where the stream of rows goes on; None at the start.
        notices: What should be known of this start.
        mirror: Copies the run elsewhere, where the recipe says so; on rank 0 alone.
    """

    recipe: Recipe
    course: Course
    run: RunFolder
    processes: Processes
    tokenizer: Tokenizer
    model_identity: dict[str, str]
    checkpoints: Checkpoints
    engine: Engine
    evaluator: Evaluator
    guards: Guards
    books: Bookkeeper
    step: int = 0
    baseline: dict[str, Any] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)
    evaluated_step: int | None = None
    data_state: dict[str, Any] | None = None
    notices: list[str] = field(default_factory=list)
    mirror: Mirror | None = None

    def event(self, kind: str, text: str, **details: Any) -> None:
        """Add a line to events.jsonl."""
        if self.processes.is_first:
            append_event(self.run, self.step, kind, text, details)

    def decide(self, line: dict[str, Any]) -> None:
        """Take a decision about the rows to come; all ranks take the same."""
        if self.processes.is_first:
            self.run.append("decisions", line | {"time": time.time()})
        self.course = follow(self.course, line)
        self.books.follow(self.course.segments)

    def flush_rows(self) -> None:
        """Write the row records at hand."""
        records = self.books.take_row_records()
        if self.processes.is_first:
            self.run.write_rows(records)

    def save(self, data_state: dict[str, Any]) -> None:
        """Begin a checkpoint, the run's records first; a collective.

        Raises:
            LinlyError: The last one could not be written.
        """
        self.finish_save()
        with self.processes.together("writing the run's records"):
            self.flush_rows()
            self.run.fsync()
        state = {
            "version": STATE_VERSION,
            "step": self.step,
            "optimizer_steps": self.engine.optimizer_steps(),
            "world_size": self.processes.world_size,
            "recipe": plain_recipe(self.recipe),
            "model": self.model_identity,
            "data": data_state,
            "guards": self.guards.state_dict(),
            "books": self.books.state_dict(),
            "baseline": self.baseline,
            "latest": self.latest,
            "evaluated_step": self.evaluated_step,
        }
        self.checkpoints.begin(self.engine, self.step, state)
        if not self.recipe.checkpoint.is_async:
            self.finish_save()

    def finish_save(self) -> None:
        """Wait for the checkpoint under way, if there is one.

        Raises:
            LinlyError: It could not be written.
        """
        self._record_save(self.checkpoints.wait())

    def note_save(self) -> list[str]:
        """Record what has become of the checkpoint under way and of its copies; no collective.

        Returns:
            What went wrong with the copies.
        """
        self._record_save(self.checkpoints.published())
        problems = []
        for copied in self.mirror.news() if self.mirror is not None else ():
            text = f"{copied.name} is copied"
            if copied.problem is not None:
                text = f"{copied.name} could not be copied: {copied.problem}"
                problems.append(f"mirror: {text}; it is tried again after the next save")
            self.event("mirror", text)
        return problems

    def finish_mirror(self, *, patience_s: float) -> list[str]:
        """Wait until the run is copied; a collective.

        Returns:
            What went wrong, and the checkpoints that are not there, on rank 0.
        """
        deadline = time.monotonic() + patience_s
        if self.mirror is not None:
            self.mirror.begin()
        is_over = False
        while not is_over:  # in short waits, so that no rank looks hung
            here = self.mirror is None or self.mirror.wait(_MIRROR_WAIT_S)
            is_over = all(self.processes.gather_json(here or time.monotonic() > deadline))
        if self.mirror is None:
            return []
        self.mirror.close()
        problems = self.note_save()
        if missing := self.mirror.missing():
            problems.append(f"not in the mirror {self.mirror.place}: {', '.join(missing)}")
        return problems

    def close(self) -> None:
        """Let the checkpoint under way become whole when training ends by an error; no collective.

        That error is the one to raise: that of the checkpoint is a warning.
        """
        try:
            self.finish_save()
        except (LinlyError, RuntimeError) as error:
            print(f"warning: the checkpoint under way was lost: {error}", file=sys.stderr)
        if self.mirror is not None:
            self.mirror.close()

    def _record_save(self, folder: Path | None) -> None:
        if folder is None or not self.processes.is_first:
            return
        note_checkpoint(self.run, folder)
        if self.mirror is not None:
            self.mirror.begin()

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Go on from a verified checkpoint; a collective."""
        self.checkpoints.load(folder, self.engine, optimizer_steps=state["optimizer_steps"])
        self.guards.load_state_dict(state["guards"])
        self.books.load_state_dict(state["books"])
        self.step = state["step"]
        self.baseline, self.latest = state["baseline"], state["latest"]
        self.evaluated_step = state["evaluated_step"]
        self.data_state = state["data"]


def append_event(run: RunFolder, step: int, kind: str, text: str, details: dict[str, Any]) -> None:
    """Add a line to a run's events."""
    run.append("events", {"step": step, "time": time.time(), "kind": kind, "text": text} | details)


def note_checkpoint(run: RunFolder, folder: Path) -> None:
    """Name a checkpoint in the run's events, unless they name it already."""
    digest = sha256_file(folder / MANIFEST)
    if noted_checkpoints(run).get(folder.name) != digest:
        append_event(run, step_of(folder), "checkpoint", folder.name, {"manifest": digest})
