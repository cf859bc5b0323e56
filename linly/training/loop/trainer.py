"""The training loop: from a recipe to a trained, evaluated and recorded run.

    recipe -> run folder and its lock -> tokenizer and model -> frozen shard lists
           -> newest checkpoint, or a fresh start and an evaluation before the first step
           -> loop: batch, micro-batches, guards, optimizer step, records
                    evaluation and checkpoint at their intervals
           -> summary

The same command, started again, resumes the run, whatever ended it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from linly.config.recipe import Recipe
from linly.data.loading.loader import Loader, StepBatch
from linly.data.loading.stream import stream_plan
from linly.data.types import BadRecord
from linly.errors import ExhaustedError, TrainingError
from linly.evaluation.combined_loss import combined_losses
from linly.evaluation.curve_guard import guard_decisions
from linly.evaluation.evaluation import generate_samples
from linly.evaluation.summary import summary_line
from linly.modeling.trainable import count_trained
from linly.records.evaluation_record import EvaluationRecord, results_by_language
from linly.records.row_loss import RowLoss
from linly.training.changes.pinned_inputs import read_later_lists, read_shards
from linly.training.engine.schedule import learning_rate
from linly.training.loop.session import Session
from linly.training.loop.start import locked_run, prepare
from linly.training.ranks.preemption import StopRequest
from linly.training.ranks.processes import Processes
from linly.training.recording.bookkeeping import StepFacts
from linly.training.recording.display import Display
from linly.training.recording.guards import Alarm

_GRACE_S = 30.0
"""Seconds to wait for the mirror after a preemption; the checkpoint is complete by then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one launch of the training program.

    Attributes:
        step: Number of steps taken since the run started.
        summary: Change in bits per byte per language, and the largest drift.
        is_complete: Whether the run has reached its last step, or ended at an exhausted source.
        exhausted: Description of the source that ended the run early; None if none did.
        is_preempted: Whether the run was asked to stop, and saved.
    """

    step: int
    summary: str
    is_complete: bool
    is_preempted: bool
    exhausted: str | None


def train(
    recipe: Recipe, processes: Processes, *, resume_step: int | None, is_quiet: bool = False
) -> Outcome:
    """Train a recipe, resuming its run folder if possible; a collective.

    Args:
        recipe: Recipe of the run.
        processes: Processes of the run.
        resume_step: Step of the checkpoint to resume; None for the newest complete one.
        is_quiet: Whether to print warnings only.
    """
    stop = StopRequest()
    with stop.listening(), locked_run(recipe, processes) as run:
        session = prepare(recipe, run, processes, resume_step=resume_step)
        try:
            return Trainer(session, stop, is_quiet=is_quiet).run()
        finally:
            session.close()


class Trainer:
    """The loop over steps in one process."""

    def __init__(self, session: Session, stop: StopRequest, *, is_quiet: bool) -> None:
        """Train `session` until its last step, or until `stop` is set."""
        self._session = session
        self._recipe = session.recipe
        self._processes = session.processes
        self._stop = stop
        self._last_step = min(
            self._recipe.num_steps, self._recipe.stop_at_step or self._recipe.num_steps
        )
        self._exhausted: str | None = None
        self._display: Display | None = None
        with self._processes.together("opening the display"):
            if self._processes.is_first:
                self._display = Display(
                    session.run, session.recipe, session.event, step=session.step, is_quiet=is_quiet
                )
                engine = session.engine
                self._display.model(count_trained(engine.module), engine.description)
                for text in session.notices:
                    self._display.warning(text)
        self._step_began = time.monotonic()

    def run(self) -> Outcome:
        """Train until the last step, `stop_at_step`, an exhausted source, or SIGTERM."""
        session = self._session
        is_preempted = False
        try:
            if self._is_evaluation_due() and session.evaluated_step != session.step:
                self._evaluate()
                self._guard_curves()
            if session.step < self._last_step:
                is_preempted = self._train()
                session.finish_save()
        finally:
            try:
                session.flush_rows()
            finally:
                if self._display is not None:
                    self._display.close()
        is_complete = session.step >= self._recipe.num_steps or self._exhausted is not None
        session.event("end" if is_complete else "stop", f"ended after step {session.step}")
        for text in session.finish_mirror(patience_s=_GRACE_S if is_preempted else math.inf):
            print(f"warning: {text}", file=sys.stderr)
        return Outcome(
            session.step,
            summary_line(
                session.baseline,
                session.latest,
                largest_drift=session.books.largest_drift,
            ),
            is_complete,
            is_preempted,
            self._exhausted,
        )

    def _train(self) -> bool:
        """Take steps; returns whether SIGTERM ended them."""
        session = self._session
        session.checkpoints.check_room(session.engine)
        with self._loader() as loader:
            self._check_order(loader)
            saved_step = session.step
            self._step_began = time.monotonic()
            try:
                while (batch := loader.next_step(session.timeline.phases)) is not None:
                    is_preempted = self._train_step(batch)
                    is_last = session.step == self._last_step
                    if self._is_evaluation_due() and not is_preempted:
                        self._evaluate()
                        self._guard_curves()
                    if is_last or is_preempted or session.step % self._recipe.checkpoint.every == 0:
                        self._save(loader)
                        saved_step = session.step
                    if is_last or is_preempted:
                        return is_preempted
            except ExhaustedError:  # on all ranks, before the same row
                if saved_step < session.step:
                    self._save(loader)
                raise
            if loader.exhausted is None:
                raise TrainingError(f"the stream of rows ended early, after step {session.step}")
            self._exhausted = str(loader.exhausted)
            session.event("exhausted", self._exhausted)
            self._quarantine(
                session.step + 1,
                [
                    *(bad for mixed in loader.left_over for bad in mixed.row.bad),
                    *loader.exhausted.bad,
                ],
                row=loader.state.row,
            )
            if saved_step < session.step:
                self._evaluate()
                self._save(loader)
        return False

    def _is_evaluation_due(self) -> bool:
        step = self._session.step
        return step == self._last_step or step % self._recipe.evaluation.every == 0

    def _loader(self) -> Loader:
        run, timeline = self._session.run, self._session.timeline
        shards = read_shards(run, timeline.sources)
        later = read_later_lists(run, timeline)
        plan = stream_plan(self._recipe, run.path / "model", shards, timeline, later)
        return Loader(
            plan,
            settings=self._recipe.data,
            micro_batch=self._recipe.training.micro_batch,
            world_size=self._processes.world_size,
            rank=self._processes.rank,
            state=self._session.data_state,
        )

    def _train_step(self, batch: StepBatch) -> bool:
        """Take one step; returns whether any rank was asked to stop."""
        if self._session.timeline.is_skipped(batch.step):
            return self._pass_over(batch)
        losses, is_preempted = self._accumulate(batch)
        lr = self._lr(batch.step)
        with self._processes.waiting(f"step {batch.step}: optimizer"):
            grad_norm, alarm = self._apply(losses, lr)
        self._finish_step(batch, losses, grad_norm=grad_norm, skipped=alarm is not None)
        if alarm is None:
            self._session.guards.accept(losses)
        else:
            self._skip(alarm)
        return is_preempted

    def _pass_over(self, batch: StepBatch) -> bool:
        """Consume a step's rows without training on them; returns whether to stop.

        Otherwise it counts as a step: in the stream, the schedule and the records.
        """
        is_preempted = self._gather(batch.step, [])[1]
        losses = [
            RowLoss(mixed.index, mixed.row.source, math.nan, mixed.row.num_supervised)
            for mixed in batch.rows
        ]
        self._finish_step(batch, losses, grad_norm=math.inf, skipped=True, is_passed_over=True)
        first, last = batch.rows[0].index, batch.rows[-1].index
        text = f"skipped by the fork: rows {first} to {last} are consumed, not trained on"
        self._session.event("pass", text, rows=[first, last])
        return is_preempted

    def _finish_step(
        self,
        batch: StepBatch,
        losses: Sequence[RowLoss],
        *,
        grad_norm: float,
        skipped: bool,
        is_passed_over: bool = False,
    ) -> None:
        for text in self._session.note_save():
            self._warn(text)
        self._session.step = batch.step
        now = time.monotonic()
        facts = StepFacts(
            step=batch.step,
            lr=self._lr(batch.step),
            grad_norm=grad_norm,
            skipped=skipped,
            seconds=now - self._step_began,
            wait_s=batch.wait_s,
            is_passed_over=is_passed_over,
        )
        self._step_began = now
        self._record(batch, losses, facts)

    def _warn(self, text: str) -> None:
        if self._display is not None:
            self._display.warning(text)

    def _lr(self, step: int) -> float:
        return learning_rate(self._recipe.training, step=step, num_steps=self._recipe.num_steps)

    def _accumulate(self, batch: StepBatch) -> tuple[list[RowLoss], bool]:
        """Accumulate the gradients of a step, and gather the losses of all its rows.

        The number of targets in the global batch is known from its rows, so that the loss is per
        token, independent of the split into micro-batches and ranks (invariant 10).
        """
        targets = [mixed.row.num_supervised for mixed in batch.rows]
        engine = self._session.engine
        nll = []
        for micro_batch in batch.micro_batches:
            with self._processes.waiting(f"step {batch.step}: gradients"):
                nll.append(engine.accumulate(micro_batch, step_targets=sum(targets)))
        gathered, is_preempted = self._gather(batch.step, nll)
        losses = [
            RowLoss(mixed.index, mixed.row.source, loss, count)
            for mixed, loss, count in zip(
                batch.rows, gathered.flatten().tolist(), targets, strict=True
            )
        ]
        return losses, is_preempted

    def _gather(self, step: int, nll: Sequence[torch.Tensor]) -> tuple[torch.Tensor, bool]:
        """All ranks' losses, float64 [ranks, rows], and whether any was asked to stop."""
        signals = (self._stop.is_set, self._session.checkpoints.has_failed)
        device = self._session.engine.device
        signals_here = torch.tensor(signals, dtype=torch.float32, device=device)
        with self._processes.waiting(f"step {step}: losses"):
            gathered = self._processes.gather_numbers(torch.cat([*nll, signals_here]).double())
        is_preempted, is_save_lost = gathered[:, -len(signals) :].any(dim=0).tolist()
        if is_save_lost:  # on all ranks at the same step
            self._session.finish_save()
        return gathered[:, : -len(signals)], is_preempted

    def _apply(self, losses: Sequence[RowLoss], lr: float) -> tuple[float, Alarm | None]:
        """Step the optimizer unless a guard raises an alarm; returns gradient norm and alarm."""
        alarm = self._session.guards.check_losses(losses)
        if alarm is not None:
            self._session.engine.discard()
            return math.inf, alarm
        result = self._session.engine.step(lr=lr)
        if not result.applied:
            return math.inf, self._session.guards.gradient_alarm(losses)
        return result.grad_norm, None

    def _skip(self, alarm: Alarm) -> None:
        sources = sorted(set(alarm.sources))
        self._session.event("skip", alarm.reason, rows=alarm.rows, sources=sources)
        self._warn(f"step {self._session.step} skipped: {alarm.reason}")
        self._session.guards.skip(alarm)

    def _record(self, batch: StepBatch, losses: Sequence[RowLoss], facts: StepFacts) -> None:
        session = self._session
        phase = session.timeline.phase_at(batch.rows[0].index)
        record = session.books.count(batch.rows, losses, facts, phase)
        if session.books.should_flush:
            session.flush_rows()
        if self._display is None:
            return
        session.run.append_step(record)
        for mixed in batch.rows:
            self._quarantine(facts.step, mixed.row.bad, row=mixed.index)
        num_bad = sum(len(mixed.row.bad) for mixed in batch.rows)
        self._display.step(record, bad_records=num_bad)

    def _quarantine(self, step: int, bad_records: Sequence[BadRecord], *, row: int) -> None:
        """Add bad records to quarantine.jsonl, with the first row after them."""
        if not self._processes.is_first:
            return
        for bad in bad_records:
            record = {"source": bad.source, "shard": bad.shard, "record": bad.record}
            place = {"step": step, "row": row}
            self._session.run.append("quarantine", place | record | {"reason": bad.reason})
            if bad.ends_shard:
                stamp = {"step": step, "time": time.time(), "kind": "shard", "row": row}
                self._session.run.append("decisions", stamp | record | {"reason": bad.reason})

    def _evaluate(self) -> None:
        """Evaluate every source and complete the prompts; a collective."""
        session, settings = self._session, self._recipe.evaluation
        with session.engine.evaluating() as model:
            sources = session.evaluator.evaluate(model)
            samples = generate_samples(
                model,
                session.tokenizer,
                settings.prompts,
                self._processes,
                max_new_tokens=settings.max_new_tokens,
            )
            new_pieces = session.books.new_pieces
            pieces = new_pieces.record(model) if new_pieces and self._processes.is_first else None
        session.latest, session.evaluated_step = sources, session.step
        if session.step == 0:
            session.baseline = sources
        if self._display is not None:
            now, next_row = time.time(), session.step * self._recipe.data.global_batch
            combined = combined_losses(sources, session.timeline, next_row=next_row)
            record = EvaluationRecord(
                step=session.step,
                time=now,
                tokens_seen=session.books.tokens_seen,
                sources=sources,
                languages=results_by_language(session.baseline, sources),
                loss_at_fixed_shares=combined.at_fixed_shares,
                loss_at_current_shares=combined.at_current_shares,
                new_pieces=pieces,
            )
            session.run.append_evaluation(record)
            for sample in samples:
                session.run.append("samples", {"step": session.step, "time": now} | sample)
            self._display.evaluation(record)
        self._step_began = time.monotonic()

    def _guard_curves(self) -> None:
        """Apply the curriculum's guards to the latest evaluation; a collective.

        Only evaluations at the regular interval count, so that interruptions have no effect.
        """
        session, step = self._session, self._session.step
        is_regular = 0 < step < self._recipe.num_steps and not step % self._recipe.evaluation.every
        if not session.timeline.curriculum.guards or not is_regular:
            return
        row, timeline = step * self._recipe.data.global_batch, session.timeline
        decisions = guard_decisions(
            timeline.curriculum,
            timeline.levels_at(row),
            session.baseline,
            session.latest,
        )
        mine = [decision.to_json(step=step, row=row) for decision in decisions]
        for decision, line in zip(decisions, self._processes.gather_json(mine)[0], strict=True):
            if decision.is_news:
                session.event("guard", str(decision), group=decision.group, level=decision.after)
            if line["after"] != line["before"]:
                session.decide(line)

    def _save(self, loader: Loader) -> None:
        self._check_order(loader)
        self._session.save(loader.state_dict())
        self._step_began = time.monotonic()

    def _check_order(self, loader: Loader) -> None:
        """Check that all ranks see the same stream (invariant 5)."""
        hashes = self._processes.gather_json(loader.state.order_hash)
        if len(set(hashes)) > 1:
            raise TrainingError(
                f"the ranks do not build the same rows after step {self._session.step} (hashes of "
                f"the order by rank: {', '.join(hashes)}): data_root, corpus files and versions "
                "must be the same on all nodes"
            )
