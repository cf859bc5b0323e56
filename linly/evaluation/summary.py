"""Summary of a run: change in bits per byte per language, and the largest drift."""

from __future__ import annotations

from collections.abc import Mapping

from linly.records.evaluation_record import SourceEvaluation, bits_per_byte_by_language

REFERENCE_LANGUAGE = "en"
"""Language that the base model knows; its change measures forgetting and is shown in percent."""


def summary_line(
    before: Mapping[str, SourceEvaluation],
    after: Mapping[str, SourceEvaluation],
    *,
    largest_drift: float,
) -> str:
    """Summary such as `zh 1.92 -> 1.31 bits/byte, en +1.8%, largest drift 0.93 row`.

    Args:
        before: `sources` of the evaluation before the first step.
        after: `sources` of the last evaluation.
        largest_drift: Largest drift of any source at any row, in rows.
    """
    first, last = bits_per_byte_by_language(before), bits_per_byte_by_language(after)
    parts = []
    languages = sorted(
        first.keys() & last.keys(), key=lambda name: (name == REFERENCE_LANGUAGE, name)
    )
    for language in languages:
        if language == REFERENCE_LANGUAGE:
            change = last[language] / first[language] - 1
            parts.append(f"{language} {change:+.1%}")
        else:
            parts.append(f"{language} {first[language]:.2f} -> {last[language]:.2f} bits/byte")
    parts.append(f"largest drift {largest_drift:.2f} row")
    return ", ".join(parts)
