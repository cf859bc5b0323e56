"""The recorder of a run: everything that training writes to the run folder's logs, or shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from linly.config.recipe import Recipe
from linly.curriculum.timeline import Decision
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import BadRecord
from linly.modeling.parameters import ParameterCount
from linly.records.evaluation_record import EvaluationRecord
from linly.records.row_loss import RowLoss, mean_loss
from linly.records.row_record import RowRecord
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.checkpoints.manifest import note_checkpoint
from linly.training.ranks.processes import Processes
from linly.training.recording.display import Display
from linly.training.recording.guards import SkipReason

MAX_BUFFERED_ROWS = 100_000

MAX_CHANGE_CHARACTERS = 80
"""Length of a changed setting on the console; decisions.jsonl has all of it."""


class Recorder:
    """Writes the logs of a run and shows its progress; all ranks may call it, rank 0 acts.

    As a context it writes the buffered row records and closes the display at its end. Events and
    decisions may follow.
    """

    def __init__(
        self, run: RunFolder, recipe: Recipe, processes: Processes, *, step: int, is_quiet: bool
    ) -> None:
        """Record a run from a step; a collective.

        Args:
            run: Folder of the run.
            recipe: Recipe of the run.
            processes: Processes of the run.
            step: Number of steps taken before this launch.
            is_quiet: Whether to show warnings only.

        Raises:
            LinlyError: If a plotting program that the recipe asks for cannot be used.
        """
        self._run = run
        self._processes = processes
        self._step = step
        self._rows: list[RowRecord] = []
        self._display: Display | None = None
        with processes.together("opening the display"):
            if processes.is_first:
                self._display = Display(run, recipe, self.event, step=step, is_quiet=is_quiet)

    def event(self, kind: str, text: str, **details: Any) -> None:
        """Add an event at the last recorded step."""
        if self._processes.is_first:
            self._run.append_event(self._step, kind, text, **details)

    def checkpoint(self, folder: Path) -> None:
        """Add a complete checkpoint to the events."""
        if self._processes.is_first:
            note_checkpoint(self._run, folder)

    def decision(self, line: Decision) -> None:
        """Add a decision to the decision log."""
        if self._processes.is_first:
            self._run.append_decision(line)

    def model(self, count: ParameterCount, description: str) -> None:
        """Record and show the trained parameters and how they are trained."""
        text = f"training {count}; {description}"
        self.event("model", text, trained=count.trained, parameters=count.total)
        if self._display is not None:
            self._display.message(text)

    def phase(self, number: int, text: str) -> None:
        """Record and show that a training phase began with the last recorded step."""
        text = f"training phase {number} began: {text}"
        self.event("phase", text, phase=number)
        if self._display is not None:
            self._display.message(text)

    def resumed(self, changes: Iterable[str]) -> None:
        """Show that the run resumes, and which settings differ from those before."""
        if self._display is not None:
            changed = [_shortened(change) for change in changes]
            setting = "settings" if len(changed) > 1 else "setting"
            text = f" with {len(changed)} changed {setting}: {'; '.join(changed)}"
            self._display.message(f"resumed after step {self._step}{text if changed else ''}")

    def notices(self, texts: Iterable[str]) -> None:
        """Record and show notices about this launch."""
        for text in texts:
            self.event("notice", text)
            self.warning(text)

    def step(
        self,
        record: StepRecord,
        rows: Sequence[MixedRow],
        losses: Sequence[RowLoss],
        *,
        is_trained: bool,
    ) -> None:
        """Record and show a step.

        Args:
            record: Record of the step.
            rows: Rows of the global batch, in order.
            losses: Losses of the same rows.
            is_trained: Whether the rows have losses; they do not if a fork skipped the step.
        """
        self._step = record.step
        if self._display is None:
            return
        self._rows += row_records(
            rows,
            losses,
            step=self._step,
            world_size=self._processes.world_size,
            is_trained=is_trained,
        )
        if len(self._rows) >= MAX_BUFFERED_ROWS:
            self._write_rows()
        self._run.append_step(record)
        for mixed in rows:
            self.bad_records(mixed.row.bad, step=self._step, row=mixed.index)
        self._display.step(record, bad_records=sum(len(mixed.row.bad) for mixed in rows))

    def skipped(self, skip_reason: SkipReason) -> None:
        """Record and show that a guard skipped the last recorded step."""
        sources = sorted(set(skip_reason.sources))
        self.event("skip", skip_reason.text, rows=skip_reason.rows, sources=sources)
        self.warning(f"step {self._step} skipped: {skip_reason.text}")

    def skipped_by_fork(self, rows: Sequence[MixedRow]) -> None:
        """Record that a fork skipped the last recorded step."""
        first, last = rows[0].index, rows[-1].index
        text = f"skipped by the fork: rows {first} to {last} are consumed, not trained on"
        self.event("pass", text, rows=[first, last])

    def bad_records(self, records: Sequence[BadRecord], *, step: int, row: int) -> None:
        """Add bad records to quarantine.jsonl.

        Args:
            records: Bad records of the data.
            step: Step that consumes the first row after them.
            row: Index of that row.
        """
        for bad in records:
            record = {"source": bad.source, "shard": bad.shard, "record": bad.record}
            place = {"step": step, "row": row}
            self._append("quarantine", place | record | {"reason": bad.reason})
            if bad.ends_shard:
                line = {"step": step, "kind": "shard", "row": row}
                self.decision(line | record | {"reason": bad.reason})

    def evaluation(self, record: EvaluationRecord, samples: Sequence[Mapping[str, str]]) -> None:
        """Record and show an evaluation and the completed prompts."""
        if self._display is None:
            return
        self._run.append_evaluation(record)
        for sample in samples:
            self._append("samples", {"step": record.step, "time": record.time, **sample})
        self._display.evaluation(record)

    def warning(self, text: str) -> None:
        """Show a warning; on standard error after the display is closed."""
        if self._display is not None:
            self._display.warning(text)
        elif self._processes.is_first:
            print(f"warning: {text}", file=sys.stderr)

    def sync(self) -> None:
        """Write buffered records, and everything to the disk."""
        self._write_rows()
        self._run.fsync()

    def __enter__(self) -> Recorder:
        """Return the recorder, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the buffered row records and close the display."""
        try:
            self._write_rows()
        finally:
            display, self._display = self._display, None
            if display is not None:
                display.close()

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        if self._processes.is_first:
            self._run.append(name, record)

    def _write_rows(self) -> None:
        records, self._rows = self._rows, []
        if self._processes.is_first:
            self._run.write_rows(records)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHANGE_CHARACTERS else f"{text[:MAX_CHANGE_CHARACTERS]}..."


def row_records(
    rows: Sequence[MixedRow],
    losses: Sequence[RowLoss],
    *,
    step: int,
    world_size: int,
    is_trained: bool,
) -> Iterator[RowRecord]:
    """Row records of a step.

    Args:
        rows: Rows of the global batch, in order.
        losses: Losses of the same rows.
        step: Step that consumes them.
        world_size: Number of ranks.
        is_trained: Whether the rows have losses; they do not if a fork skipped the step.
    """
    rows_per_rank = len(rows) // world_size
    for position, (mixed, loss) in enumerate(zip(rows, losses, strict=True)):
        yield RowRecord(
            row=mixed.index,
            step=step,
            rank=position // rows_per_rank,
            world_size=world_size,
            source=mixed.row.source,
            epoch=mixed.row.epoch,
            supervised_tokens=loss.targets,
            padding=mixed.row.num_padding,
            loss=mean_loss([loss]) if is_trained else None,
            documents=mixed.row.spans,
        )
