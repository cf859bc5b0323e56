"""Held-out bits per byte before and after, over the text that both evaluations have.

An amendment may add or drop sources, and two runs may differ in their sources. An average over the
sources of each side would then differ even with the same model. All figures that compare two
evaluations come from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from linly.records.evaluation_record import LanguageEvaluation, SourceEvaluation
from linly.records.measures import joint_bits_per_byte, relative_change

Results = Mapping[str, SourceEvaluation]
"""Results of an evaluation by source."""


@dataclass(frozen=True, slots=True)
class BitsChange:
    """Bits per byte of the same held-out text in two evaluations.

    Attributes:
        before: Value of the first evaluation.
        after: Value of the second evaluation.
        sources: Sources of the text.
        left_out: Sources that would count, but that only one evaluation has, or with another text.
    """

    before: float
    after: float
    sources: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def relative(self) -> float:
        """Change relative to `before`: negative is learned, positive is forgotten."""
        change = relative_change(self.before, self.after)
        return math.nan if change is None else change

    @property
    def remark(self) -> str:
        """Sources that are left out, such as ` (without news, wiki)`; empty if there are none."""
        return f" (without {', '.join(self.left_out)})" if self.left_out else ""


def changes_by_language(before: Results, after: Results) -> dict[str, BitsChange]:
    """Change of each language's text, by its code.

    Only plain text counts, because it measures a language best. If the evaluations have none in
    common, all sources of the language count. A language without numbers is left out.
    """
    found = {}
    for language in sorted({result.language for result in (*before.values(), *after.values())}):
        first, second = _of_language(before, language), _of_language(after, language)
        common = {
            name for name in first.keys() & second.keys() if _is_same(first[name], second[name])
        }
        plain = {name for name in common if first[name].kind == "text"}
        candidates = {
            name
            for side in (first, second)
            for name, result in side.items()
            if not plain or result.kind == "text"
        }
        change = _change(before, after, plain or common, candidates)
        if change is not None:
            found[language] = change
    return found


def changes_by_source(before: Results, after: Results) -> dict[str, BitsChange]:
    """Change of each source's text that both evaluations have; without numbers it is left out."""
    changes = {
        name: _change(before, after, [name], [name])
        for name in before
        if name in after and _is_same(before[name], after[name])
    }
    return {name: change for name, change in changes.items() if change is not None}


def results_by_language(before: Results, after: Results) -> dict[str, LanguageEvaluation]:
    """Results of an evaluation by language.

    A language is measured over the text that it has in common with the evaluation before the first
    step, so that its curve does not jump where a source is added. If there is none, it is measured
    over all its text, and has no change.

    Args:
        before: Evaluation before the first step.
        after: Evaluation to describe.
    """
    changes = changes_by_language(before, after)
    return {
        language: LanguageEvaluation(
            bits_per_byte=own.after,
            change=relative_change(changes[language].before, own.after)
            if language in changes
            else None,
        )
        for language, own in (changes_by_language(after, after) | changes).items()
    }


def _of_language(results: Results, language: str) -> dict[str, SourceEvaluation]:
    return {name: result for name, result in results.items() if result.language == language}


def _is_same(before: SourceEvaluation, after: SourceEvaluation) -> bool:
    """Whether two results can be of the same text."""
    first, second = ((one.language, one.kind, one.size_bytes) for one in (before, after))
    return first == second


def _change(
    before: Results, after: Results, sources: Iterable[str], candidates: Iterable[str]
) -> BitsChange | None:
    names = sorted(sources)
    first = joint_bits_per_byte([before[name] for name in names])
    second = joint_bits_per_byte([after[name] for name in names])
    if first is None or second is None:
        return None
    return BitsChange(first, second, tuple(names), tuple(sorted({*candidates} - {*names})))
