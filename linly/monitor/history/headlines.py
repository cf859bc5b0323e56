"""Headline figures of a run, as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from linly.config.sections.languages import language_name
from linly.curriculum.deadlines import drift_bound
from linly.monitor.history.history import History
from linly.monitor.number_words import count, duration, percent
from linly.records.before_after import BitsChange, changes_by_language, changes_by_source

_MAX_LANGUAGES = 4
_LOSS_STEPS = 20
_ROUNDING = 1e-3
"""Excess of the drift over its bound, in rows, that comes from rounding."""


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure: its label, value, detail, tone (good or bad), and language if it has one."""

    label: str
    value: str
    detail: str
    tone: Literal["good", "bad", "plain"] = "plain"
    language: str = ""


def language_changes(history: History) -> dict[str, BitsChange]:
    """Change of each language's text, in the run's order; empty without two evaluations."""
    if len(history.evaluations) < 2:
        return {}
    first, last = history.evaluations[0].sources, history.evaluations[-1].sources
    changes = changes_by_language(first, last)
    return {name: changes[name] for name in history.run_languages.ordered(changes)}


def language_series(history: History) -> dict[str, list[BitsChange | None]]:
    """Change of each language since the first evaluation, at every evaluation; None if unknown.

    A language that the first evaluation lacks is left out.
    """
    if not history.evaluations:
        return {}
    first = history.evaluations[0].sources
    found = [changes_by_language(first, evaluation.sources) for evaluation in history.evaluations]
    languages = history.run_languages.ordered(found[0])
    return {name: [changes.get(name) for changes in found] for name in languages}


def average_series(history: History) -> dict[str, list[BitsChange | None]]:
    """Change of each language with averaged weights, at every evaluation; empty without any."""
    if not any(evaluation.average for evaluation in history.evaluations):
        return {}
    first = history.evaluations[0].sources
    found = [
        changes_by_language(first, evaluation.average.sources) if evaluation.average else {}
        for evaluation in history.evaluations
    ]
    languages = history.run_languages.ordered({name for changes in found for name in changes})
    return {name: [changes.get(name) for changes in found] for name in languages}


def source_changes(history: History) -> dict[str, BitsChange]:
    """Change of each source's text; empty without two evaluations."""
    if len(history.evaluations) < 2:
        return {}
    return changes_by_source(history.evaluations[0].sources, history.evaluations[-1].sources)


def headlines(history: History) -> tuple[Headline, ...]:
    """Figures at the top of a report: what was learned and kept, tokens, time, drift."""
    results = _languages(history) or [_loss(history)]
    return (*results, _tokens(history), _time(history), *_drift(history))


def _languages(history: History) -> list[Headline]:
    """The learned language first, then the kept one, then the others by code."""
    learned = history.run_languages.learned
    changes = sorted(language_changes(history).items(), key=lambda item: item[0] != learned)
    last = {language: series[-1] for language, series in average_series(history).items()}
    averaged = {
        language: f"; averaged weights {change.after:.3f}"
        for language, change in last.items()
        if change is not None
    }
    return [
        Headline(
            label=f"{language_name(language)}, bits per byte",
            value=percent(change.relative),
            detail=f"{change.before:.3f} → {change.after:.3f}, lower is better{change.remark}"
            f"{averaged.get(language, '')}",
            tone="good" if change.relative <= 0 else "bad",
            language=language,
        )
        for language, change in changes[:_MAX_LANGUAGES]
    ]


def _loss(history: History) -> Headline:
    """Training loss of the last steps, until a second evaluation shows what was learned."""
    losses = history.loss[np.isfinite(history.loss)]
    if not len(losses):
        return Headline(label="Training loss", value="–", detail="no step was trained on")
    last = losses[-_LOSS_STEPS:]
    return Headline(
        label="Training loss",
        value=f"{float(last.mean()):.3f}",
        detail=f"nats per token, {losses[0]:.3f} in the first step",
    )


def _tokens(history: History) -> Headline:
    seen = int(history.tokens_seen[-1])
    step = int(history.step[-1])
    steps = f"{step:,} step{'s' if step != 1 else ''}"
    planned = history.total_tokens
    detail = f"of {count(planned)} planned, {steps}" if planned else steps
    return Headline(label="Tokens seen", value=count(seen), detail=detail)


def _time(history: History) -> Headline:
    """Time left while the run has steps left, then the time that its steps took."""
    speed = history.mean_tokens_per_second
    at_speed = f"at {count(speed)} tokens/s" if math.isfinite(speed) else ""
    left = history.seconds_left
    if history.is_finished or not math.isfinite(left):
        return Headline("Time in steps", duration(history.training_s), at_speed)
    return Headline("Time left", duration(left), at_speed)


def _drift(history: History) -> list[Headline]:
    """Whether the rows follow the plan; empty for a single source, which cannot drift."""
    largest, bound = history.largest_drift, drift_bound(len(history.sources))
    if not bound:
        return []
    is_kept = largest <= bound + _ROUNDING
    return [
        Headline(
            label="Mixture",
            value="on plan" if is_kept else "off plan",
            detail=f"drift at most {largest:.2f} of {bound:.2f} row",
            tone="plain" if is_kept else "bad",
        )
    ]
