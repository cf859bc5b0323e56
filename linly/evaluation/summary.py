"""Summary of a run in words: change in bits per byte per language, and the largest drift."""

from __future__ import annotations

from collections.abc import Mapping

from linly.config.sections.languages import Languages
from linly.records.before_after import changes_by_language
from linly.records.evaluation_record import AverageEvaluation, SourceEvaluation


def summary_line(
    before: Mapping[str, SourceEvaluation],
    after: Mapping[str, SourceEvaluation],
    *,
    languages: Languages,
    largest_drift: float,
    average: AverageEvaluation | None = None,
) -> str:
    """Summary such as `zh 1.92 -> 1.31 bits/byte, en +1.8%, largest drift 0.93 row`.

    Averaged weights follow in the same form, after `averaged weights of steps 200-400:`.

    Args:
        before: `sources` of the evaluation before the first step.
        after: `sources` of the last evaluation.
        languages: Languages of the run; the learned one comes first, the kept one last, in percent.
        largest_drift: Largest drift of any source at any row, in rows.
        average: Last evaluation of averaged weights; None if there are none.
    """
    parts = [*_changes(before, after, languages), f"largest drift {largest_drift:.2f} row"]
    if average is not None:
        own = ", ".join(_changes(before, average.sources, languages))
        parts.append(f"{average.title}: {own}")
    return ", ".join(parts)


def _changes(
    before: Mapping[str, SourceEvaluation],
    after: Mapping[str, SourceEvaluation],
    languages: Languages,
) -> list[str]:
    """Change of each language, the learned one first, and the kept one last."""
    changes = changes_by_language(before, after)
    kept, *others = languages.ordered({languages.kept, *changes})
    parts = [
        f"{name} {changes[name].before:.2f} -> {changes[name].after:.2f} bits/byte"
        f"{changes[name].remark}"
        for name in others
    ]
    if kept in changes:
        parts.append(f"{kept} {changes[kept].relative:+.1%}{changes[kept].remark}")
    alone = {result.language for result in after.values()} - changes.keys()
    return [*parts, *(f"{name} not compared" for name in languages.ordered(alone))]


def language_notices(languages: Languages, results: Mapping[str, SourceEvaluation]) -> list[str]:
    """Notice if a language of the recipe has no held-out text; empty if nothing is held out.

    Args:
        languages: Languages of the run.
        results: `sources` of the evaluation before the first step.
    """
    found = {result.language for result in results.values()}
    missing = [language for language in languages.both if language not in found]
    if not found or not missing:
        return []
    return [
        f"no held-out text in {' or '.join(missing)} (found: {', '.join(sorted(found))}), so it "
        "cannot be said what the run learns for what it forgets: set `languages` to those of the "
        "corpora, or `held_out` in a corpus file"
    ]
