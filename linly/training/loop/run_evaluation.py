"""Evaluation of a run at a step, and the decisions on ratios that follow from it."""

from __future__ import annotations

import time
from dataclasses import replace

from linly.evaluation.combined_loss import combined_losses
from linly.evaluation.curve_guard import guard_decisions
from linly.evaluation.evaluation import generate_samples
from linly.evaluation.summary import language_notices
from linly.records.before_after import results_by_language
from linly.records.evaluation_record import AverageEvaluation, EvaluationRecord
from linly.training.loop.build import Components


def evaluate_run(parts: Components, *, is_last: bool) -> None:
    """Evaluate every source, complete the prompts, and decide on ratios; a collective.

    Args:
        parts: Objects of the run.
        is_last: Whether no step follows in this launch, so that the tasks are evaluated too.
    """
    state, settings = parts.state, parts.recipe.evaluation
    new_pieces = state.counts.new_pieces
    has_tasks = is_last or not state.step % settings.task_interval
    with parts.engine.evaluating() as model:
        sources = parts.evaluator.evaluate(model)
        tasks = parts.task_evaluator.evaluate(model) if has_tasks else {}
        samples = generate_samples(
            model,
            parts.tokenizer,
            settings.prompts,
            parts.processes,
            max_new_tokens=settings.max_new_tokens,
        )
        pieces = new_pieces.record(model) if new_pieces and parts.processes.is_first else None
    average = _evaluate_average(parts)
    state.add_evaluation(sources, average)
    if has_tasks:
        state.add_tasks(tasks)
    if state.step == 0:
        parts.recorder.notices(language_notices(parts.recipe.languages, sources))
    drift = parts.weight_drift.measure() if parts.weight_drift is not None else {}
    record = replace(_record(parts), new_pieces=pieces, tasks=tasks, weight_drift=drift)
    parts.recorder.evaluation(record, samples)
    _decide(parts, state.step * parts.recipe.data.global_batch)


def _record(parts: Components) -> EvaluationRecord:
    """Record of the latest held-out results."""
    state = parts.state
    sources, next_row = state.latest, state.step * parts.recipe.data.global_batch
    combined = combined_losses(sources, state.timeline, next_row=next_row)
    return EvaluationRecord(
        step=state.step,
        time=time.time(),
        tokens_seen=state.counts.tokens_seen,
        sources=sources,
        languages=results_by_language(state.baseline, sources),
        loss_at_fixed_shares=combined.at_fixed_shares,
        loss_at_current_shares=combined.at_current_shares,
        average=state.latest_average,
    )


def _evaluate_average(parts: Components) -> AverageEvaluation | None:
    """Evaluate the averaged weights, if there are any; the last weights are back afterwards."""
    average = parts.engine.average
    if average is None or not average.steps.samples:
        return None
    with parts.engine.averaged(), parts.engine.evaluating() as model:
        sources = parts.evaluator.evaluate(model)
    return AverageEvaluation(
        samples=average.steps.samples,
        first_step=average.steps.first_step,
        last_step=average.steps.last_step,
        sources=sources,
        languages=results_by_language(parts.state.baseline, sources),
    )


def _decide(parts: Components, row: int) -> None:
    """Apply the curriculum's guards to the latest evaluation; a collective.

    Only evaluations at the regular interval count, so that interruptions have no effect.
    """
    recipe, state, step = parts.recipe, parts.state, parts.state.step
    is_regular = 0 < step < recipe.num_steps and not step % recipe.evaluation.every
    curriculum = state.timeline.curriculum
    if not curriculum.guards or not is_regular:
        return
    levels = state.timeline.levels_at(row)
    decisions = guard_decisions(
        curriculum,
        levels,
        state.baseline,
        state.latest,
        tasks_before=state.tasks_before,
        tasks=None if step % recipe.evaluation.task_interval else state.tasks,
    )
    mine = [decision.to_json(step=step, row=row) for decision in decisions]
    for decision, line in zip(decisions, parts.processes.gather_json(mine)[0], strict=True):
        if decision.is_news:
            details = {"group": decision.group, "level": decision.after}
            parts.recorder.event("guard", str(decision), **details)
        if line["after"] != line["before"]:
            parts.recorder.decision(line)
            state.decide(line)
