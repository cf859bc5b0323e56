"""Headline figures of a run, as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from linly.config.languages import language_name
from linly.curriculum.deadlines import drift_bound
from linly.monitor.history.history import History
from linly.monitor.number_words import count, duration, percent
from linly.records.before_after import BitsChange, changes_by_language, changes_by_source

_MAX_LANGUAGES = 4


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure: its label, value, detail, and tone (good or bad)."""

    label: str
    value: str
    detail: str
    tone: Literal["good", "bad", "plain"] = "plain"


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


def source_changes(history: History) -> dict[str, BitsChange]:
    """Change of each source's text; empty without two evaluations."""
    if len(history.evaluations) < 2:
        return {}
    return changes_by_source(history.evaluations[0].sources, history.evaluations[-1].sources)


def headlines(history: History) -> tuple[Headline, ...]:
    """Figures at the top of a report: languages, drift, tokens, time."""
    return (*_languages(history), _drift(history), _tokens(history), _time(history))


def _languages(history: History) -> list[Headline]:
    """Languages with the largest improvement first."""
    changes = sorted(language_changes(history).items(), key=lambda item: item[1].relative)
    return [
        Headline(
            label=f"{language_name(language)}, bits per byte",
            value=f"{change.before:.2f} → {change.after:.2f}",
            detail=f"{percent(change.relative)} since step 0{change.remark}",
            tone="good" if change.relative <= 0 else "bad",
        )
        for language, change in changes[:_MAX_LANGUAGES]
    ]


def _drift(history: History) -> Headline:
    largest = history.largest_drift
    bound = drift_bound(len(history.sources))
    return Headline(
        label="Largest drift",
        value=f"{largest:.2f} row",
        detail=f"bound {bound:.2f} row",
        tone="plain" if largest <= bound + 1e-3 else "bad",
    )


def _tokens(history: History) -> Headline:
    seen = int(history.tokens_seen[-1])
    steps = f"{int(history.step[-1]):,} steps"
    planned = history.total_tokens
    detail = f"of {count(planned)} planned, {steps}" if planned else steps
    return Headline(label="Tokens seen", value=count(seen), detail=detail)


def _time(history: History) -> Headline:
    speed = history.mean_tokens_per_second
    return Headline(
        label="Time in steps",
        value=duration(history.training_s),
        detail=f"{count(speed)} tokens per second" if math.isfinite(speed) else "",
    )
