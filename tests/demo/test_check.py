"""demo.check: exits with an error when a promise of the demo does not hold."""

from __future__ import annotations

import pytest

from demo import check
from linly.records.before_after import Results
from linly.records.evaluation_record import SourceEvaluation

Measured = list[tuple[int, Results]]


def measured(*points: tuple[int, float, float]) -> Measured:
    """Step, English and Chinese bits per byte of each evaluation."""

    def source(language: str, bits: float) -> SourceEvaluation:
        return SourceEvaluation(language=language, bits_per_byte=bits, size_bytes=100)

    return [
        (step, {"pajama": source("en", english), "wiki": source("zh", chinese)})
        for step, english, chinese in points
    ]


def outcome(monkeypatch: pytest.MonkeyPatch, runs: dict[str, Measured]) -> dict[str, list[bool]]:
    """Whether each promise holds, for runs with these evaluations."""
    monkeypatch.setattr(check, "evaluations", runs.__getitem__)
    return {
        which: [holds for holds, _ in check.checks(which)] for which in ("mixture", "chinese-only")
    }


def test_promises_that_hold_are_seen_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {
        "base": measured((0, 3.0, 8.0), (75, 1.00, 8.0), (100, 0.99, 8.0)),
        "mixture": measured((0, 1.0, 4.0), (50, 1.2, 3.5), (100, 1.04, 2.9)),
        "chinese-only": measured((0, 1.0, 4.0), (100, 1.2, 2.5)),
    }
    expected = {"mixture": [True, True, True], "chinese-only": [True]}
    assert outcome(monkeypatch, runs) == expected


def test_each_promise_can_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {
        "base": measured((0, 3.0, 8.0), (75, 1.00, 8.0), (90, 0.98, 8.0), (100, 0.97, 8.0)),
        "mixture": measured((0, 1.0, 4.0), (50, 0.9, 2.0), (100, 1.06, 3.1)),
        "chinese-only": measured((0, 1.0, 4.0), (100, 1.05, 2.5)),
    }
    expected = {"mixture": [False, False, False], "chinese-only": [False]}
    assert outcome(monkeypatch, runs) == expected
