"""The training loop: from a recipe to a trained, evaluated and recorded run.

    recipe -> run folder and its lock -> tokenizer and model -> pinned shard lists
           -> newest checkpoint, or a fresh start and an evaluation before the first step
           -> loop: batch, micro-batches, guards, optimizer step, records
                    evaluation and checkpoint at their intervals
           -> summary

The same command, started again, resumes the run, whatever ended it.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass

from linly.config.recipe import Recipe
from linly.curriculum.learning_rate import LearningRate
from linly.data.loading.loader import Loader, StepBatch
from linly.errors import ExhaustedError, TrainingError
from linly.evaluation.summary import summary_line
from linly.training.loop.build import Components, open_loader
from linly.training.loop.run_evaluation import evaluate_run
from linly.training.loop.start import locked_run, prepare
from linly.training.loop.step import Signals, StepOutcome, skip_step, take_step
from linly.training.loop.training_phases import enter_phase
from linly.training.ranks.preemption import StopRequest
from linly.training.ranks.processes import Processes
from linly.training.recording.run_counts import StepFacts

_GRACE_S = 30.0
"""Seconds to wait for the mirror after a preemption; the checkpoint is complete by then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one launch of the training program.

    Attributes:
        step: Number of steps taken since the run started.
        ending: Description of how this launch ended.
        summary: Change in bits per byte per language, and the largest drift.
        is_complete: Whether the run has reached its last step, or ended at an exhausted source.
        is_preempted: Whether the run was asked to stop, and saved.
        exhausted: Description of the source that ended the run early; None if none did.
    """

    step: int
    ending: str
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
        parts = prepare(recipe, run, processes, resume_step=resume_step, is_quiet=is_quiet)
        with closing(parts.saver):
            trainer = Trainer(parts, stop)
            with parts.recorder:
                trainer.run()
            return trainer.finish()


class Trainer:
    """The loop over steps in one process."""

    def __init__(self, parts: Components, stop: StopRequest) -> None:
        """Train until the last step, or until `stop` is set."""
        self._parts = parts
        self._recipe = parts.recipe
        self._processes = parts.processes
        self._state = parts.state
        self._recorder = parts.recorder
        self._saver = parts.saver
        self._stop = stop
        self._rate = LearningRate.from_recipe(parts.recipe)
        num_steps = self._recipe.num_steps
        self._last_step = min(num_steps, self._recipe.stop_at_step or num_steps)
        self._first_step = self._state.step
        self._is_preempted = False
        self._exhausted: str | None = None
        self._clock = time.monotonic()

    def run(self) -> None:
        """Take steps until the last one, `stop_at_step`, an exhausted source, or SIGTERM.

        An evaluation may change the timeline, by which the loader builds the next batch. The
        checkpoint comes last, so that it holds everything that the step has decided.
        """
        state, engine = self._state, self._parts.engine
        if self._is_due(self._recipe.evaluation.every) and not state.is_evaluated:
            self._evaluate()
        if self._is_over:
            return
        self._saver.check_room(engine)
        with open_loader(self._parts) as loader:
            self._check_order(loader)
            self._clock = time.monotonic()
            while not self._is_over:
                batch = self._next_batch(loader)
                if batch is None:
                    self._end_early(loader)
                    break
                signals = Signals(self._stop.is_set, self._saver.has_failed)
                begins = enter_phase(self._recipe, engine, state, batch.step)
                if state.timeline.is_skipped(batch.step):
                    outcome = skip_step(batch, self._processes, signals=signals)
                else:
                    lr = self._rate.at(batch.step)
                    outcome = take_step(
                        engine, batch, state.guards, self._processes, lr=lr, signals=signals
                    )
                self._record(batch, outcome)
                if begins:
                    text = self._parts.choices[state.phase]
                    self._recorder.phase(state.phase + 1, text)
                if engine.average is not None:
                    engine.average.update(batch.step)
                self._is_preempted = outcome.signals.asked_to_stop
                if self._is_due(self._recipe.evaluation.every) and not self._is_preempted:
                    self._evaluate()
                if self._is_due(self._recipe.checkpoint.every) or self._is_preempted:
                    self._save(loader)
        self._saver.finish()

    def finish(self) -> Outcome:
        """Record the end of this launch, and wait for the mirror; a collective."""
        state = self._state
        is_complete = state.step >= self._recipe.num_steps or self._exhausted is not None
        self._recorder.event("end" if is_complete else "stop", f"ended after step {state.step}")
        self._saver.finish_mirror(patience_s=_GRACE_S if self._is_preempted else math.inf)
        summary = summary_line(
            state.baseline,
            state.latest,
            languages=self._recipe.languages,
            largest_drift=state.counts.largest_drift,
            average=state.latest_average,
        )
        return Outcome(
            state.step, self._ending, summary, is_complete, self._is_preempted, self._exhausted
        )

    @property
    def _ending(self) -> str:
        step, num_steps = self._state.step, self._recipe.num_steps
        steps = f"{step:,} of {num_steps:,} steps"
        if self._exhausted is not None:
            return f"ended early after {steps}: {self._exhausted}"
        if step >= num_steps:
            is_new = step > self._first_step
            return f"complete, {steps}" if is_new else f"was complete already, {steps}"
        if self._is_preempted:
            return f"stopped by a signal after {steps}, and saved"
        return f"stopped after {steps}, as stop_at_step requests"

    @property
    def _is_over(self) -> bool:
        return self._is_preempted or self._state.step >= self._last_step

    def _is_due(self, every: int) -> bool:
        return self._state.step == self._last_step or self._state.step % every == 0

    def _next_batch(self, loader: Loader) -> StepBatch | None:
        """The next batch; what was trained before a source ran out is saved."""
        try:
            return loader.next_step(self._state.timeline.phases)
        except ExhaustedError:  # on all ranks, before the same row
            if self._saver.saved_step < self._state.step:
                self._save(loader)
            raise

    def _record(self, batch: StepBatch, outcome: StepOutcome) -> None:
        """Count and record a step, and end the run if a save or too many steps have failed."""
        if outcome.signals.save_failed:
            self._saver.finish()  # raises on all ranks
        self._saver.note_progress()
        state, recorder, now = self._state, self._recorder, time.monotonic()
        state.step = batch.step
        is_trained = outcome.kind != "skipped_by_fork"
        facts = StepFacts(
            step=batch.step,
            lr=self._rate.at(batch.step),
            grad_norm=outcome.grad_norm,
            skipped=outcome.kind != "applied",
            seconds=now - self._clock,
            wait_s=batch.wait_s,
            is_skipped_by_fork=not is_trained,
        )
        self._clock = now
        phase = state.timeline.phase_at(batch.rows[0].index)
        record = state.counts.count(batch.rows, outcome.losses, facts, phase)
        recorder.step(record, batch.rows, outcome.losses, is_trained=is_trained)
        if outcome.kind == "applied":
            state.guards.accept(outcome.losses)
        elif outcome.skip_reason is not None:
            recorder.skipped(outcome.skip_reason)
            state.guards.skip(outcome.skip_reason)
        else:
            recorder.skipped_by_fork(batch.rows)

    def _evaluate(self) -> None:
        is_last = self._is_over or self._exhausted is not None
        evaluate_run(self._parts, is_last=is_last)
        self._clock = time.monotonic()

    def _end_early(self, loader: Loader) -> None:
        """Record that a source ended the run, and evaluate and save what was trained."""
        if loader.exhausted is None:
            raise TrainingError(f"the stream of rows ended early, after step {self._state.step}")
        self._exhausted = str(loader.exhausted)
        self._recorder.event("exhausted", self._exhausted)
        bad = [*(bad for mixed in loader.left_over for bad in mixed.row.bad), *loader.exhausted.bad]
        self._recorder.bad_records(bad, step=self._state.step + 1, row=loader.state.row)
        if self._saver.saved_step < self._state.step:
            if not self._state.is_evaluated:
                self._evaluate()
            self._save(loader)

    def _save(self, loader: Loader) -> None:
        self._check_order(loader)
        self._saver.save(self._parts.engine, self._state, loader.state_dict())
        self._clock = time.monotonic()

    def _check_order(self, loader: Loader) -> None:
        """Check that all ranks see the same stream (invariant 5)."""
        hashes = self._processes.gather_json(loader.state.order_hash)
        if len(set(hashes)) > 1:
            raise TrainingError(
                f"the ranks do not build the same rows after step {self._state.step} (hashes of "
                f"the order by rank: {', '.join(hashes)}): data_root, corpus files and versions "
                "must be the same on all nodes"
            )
