"""Summary of a run: change in bits per byte per language, and the largest drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REFERENCE_LANGUAGE = "en"
"""Language that the base model knows; its change measures forgetting and is shown in percent."""


def summary_line(
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
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


def changes_by_language(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Bits per byte of each language, and the change since the start.

    A positive change in the language that the base model knows is forgetting.
    """
    first = bits_per_byte_by_language(before)
    return {
        language: {
            "bits_per_byte": bits,
            "change": bits / first[language] - 1 if first.get(language) else None,
        }
        for language, bits in bits_per_byte_by_language(after).items()
    }


def bits_per_byte_by_language(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Bits per byte over all held-out text of each language.

    Only plain text is counted, or instructions for a language without plain text.
    """
    languages = sorted({source["language"] for source in sources.values()})
    result = {}
    for language in languages:
        own = [source for source in sources.values() if source["language"] == language]
        counted = [source for source in own if source["kind"] == "text"] or own
        num_bytes = sum(source["bytes"] for source in counted)
        bits = sum(source["bits_per_byte"] * source["bytes"] for source in counted)
        if num_bytes:
            result[language] = bits / num_bytes
    return result
