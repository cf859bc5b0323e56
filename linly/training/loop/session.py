"""Per-process state of a run: its components, current step, saving and event logging."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linly.config.recipe import Recipe, plain_recipe
from linly.curriculum.timeline import Timeline
from linly.errors import LinlyError
from linly.evaluation.evaluation import Evaluator
from linly.files import sha256_file
from linly.records.evaluation_record import SourceEvaluation, parse_sources, sources_form
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
    """Per-process state of a run.

    Attributes:
        recipe: Recipe with the curriculum in force.
        timeline: Timeline by the run's decisions so far.
        step: Number of steps taken.
        baseline: Evaluation before the first step, by source; empty before it.
        latest: Last evaluation, by source; empty before the first.
        evaluated_step: Step of the last evaluation; None before the first.
        data_state: State of the loader at which the stream of rows resumes; None at a fresh start.
        notices: Notices about this start.
        mirror: Mirror of the run; None without one, and on all ranks but 0.
    """

    recipe: Recipe
    timeline: Timeline
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
    baseline: dict[str, SourceEvaluation] = field(default_factory=dict)
    latest: dict[str, SourceEvaluation] = field(default_factory=dict)
    evaluated_step: int | None = None
    data_state: dict[str, Any] | None = None
    notices: list[str] = field(default_factory=list)
    mirror: Mirror | None = None

    def event(self, kind: str, text: str, **details: Any) -> None:
        """Add a line to events.jsonl."""
        if self.processes.is_first:
            append_event(self.run, self.step, kind, text, details)

    def decide(self, line: dict[str, Any]) -> None:
        """Record and apply a decision about future rows; the same on all ranks."""
        if self.processes.is_first:
            self.run.append("decisions", line | {"time": time.time()})
        self.timeline = self.timeline.with_decision(line)

    def flush_rows(self) -> None:
        """Write the buffered row records."""
        records = self.books.take_row_records()
        if self.processes.is_first:
            self.run.write_rows(records)

    def save(self, data_state: dict[str, Any]) -> None:
        """Flush the run's records and begin a checkpoint; a collective.

        Raises:
            LinlyError: If the previous checkpoint could not be written.
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
            "baseline": sources_form(self.baseline),
            "latest": sources_form(self.latest),
            "evaluated_step": self.evaluated_step,
        }
        self.checkpoints.begin(self.engine, self.step, state)
        if not self.recipe.checkpoint.is_async:
            self.finish_save()

    def finish_save(self) -> None:
        """Wait for the pending checkpoint, if any.

        Raises:
            LinlyError: If it could not be written.
        """
        self._record_save(self.checkpoints.wait())

    def note_save(self) -> list[str]:
        """Record a completed checkpoint and finished copies, if any; not a collective.

        Returns:
            Warnings for failed copies.
        """
        self._record_save(self.checkpoints.published())
        problems = []
        for copied in self.mirror.news() if self.mirror is not None else ():
            text = f"{copied.name} was copied"
            if copied.problem is not None:
                text = f"{copied.name} could not be copied: {copied.problem}"
                problems.append(f"mirror: {text}; it is retried after the next save")
            self.event("mirror", text)
        return problems

    def finish_mirror(self, *, patience_s: float) -> list[str]:
        """Wait until the run is mirrored; a collective.

        Args:
            patience_s: Maximum seconds to wait.

        Returns:
            Warnings for failed copies and for checkpoints missing in the mirror; on rank 0 only.
        """
        deadline = time.monotonic() + patience_s
        if self.mirror is not None:
            self.mirror.begin()
        is_over = False
        while not is_over:  # short waits, so that no rank appears hung
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
        """Complete the pending checkpoint, also after an error of training; not a collective.

        A failure to write the checkpoint is only a warning, so that it does not hide that error.
        """
        try:
            self.finish_save()
        except (LinlyError, RuntimeError) as error:
            print(f"warning: the pending checkpoint was lost: {error}", file=sys.stderr)
        if self.mirror is not None:
            self.mirror.close()

    def _record_save(self, folder: Path | None) -> None:
        if folder is None or not self.processes.is_first:
            return
        note_checkpoint(self.run, folder)
        if self.mirror is not None:
            self.mirror.begin()

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Restore a verified checkpoint; a collective."""
        self.checkpoints.load(folder, self.engine, optimizer_steps=state["optimizer_steps"])
        self.guards.load_state_dict(state["guards"])
        self.books.load_state_dict(state["books"])
        self.step = state["step"]
        self.baseline = parse_sources(state["baseline"])
        self.latest = parse_sources(state["latest"])
        self.evaluated_step = state["evaluated_step"]
        self.data_state = state["data"]


def append_event(run: RunFolder, step: int, kind: str, text: str, details: dict[str, Any]) -> None:
    """Add a line to a run's events."""
    run.append("events", {"step": step, "time": time.time(), "kind": kind, "text": text} | details)


def note_checkpoint(run: RunFolder, folder: Path) -> None:
    """Add a checkpoint to the run's events, unless it is there already."""
    digest = sha256_file(folder / MANIFEST)
    if noted_checkpoints(run).get(folder.name) != digest:
        append_event(run, step_of(folder), "checkpoint", folder.name, {"manifest": digest})
