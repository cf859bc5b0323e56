"""Held-out losses joined at shares that stay and at those of the moment."""

from __future__ import annotations

from typing import Any

import pytest

from linly.curriculum.timeline import fold
from linly.evaluation.combined_loss import combined_losses
from linly.records.evaluation_record import SourceEvaluation


def curriculum(english: str, *, tokens: int = 8000) -> dict[str, Any]:
    mixture = {
        "english": {"ratio": english, "sources": {"books": "100%"}},
        "chinese": {"ratio": "rest", "sources": {"wiki": "75%", "news": "25%"}},
    }
    return {"name": "c", "tokens": tokens, "mixture": mixture}


def start(english: Any) -> dict[str, Any]:
    line = {"step": 0, "kind": "start", "row": 0, "sequence_length": 8, "corpora": {}}
    return line | {"curriculum": curriculum(english)}


RAMP = {"curve": "linear", "from": "80%", "to": "20%"}
LOSSES = {"books": 1.0, "wiki": 2.0, "news": 4.0}
HELD_OUT = {name: SourceEvaluation(loss=loss) for name, loss in LOSSES.items()}


def test_the_fixed_shares_are_those_of_the_end_and_the_current_ones_move() -> None:
    timeline = fold([start(RAMP)])
    end = 0.2 * 1 + 0.6 * 2 + 0.2 * 4
    for row, english in ((0, 0.8), (500, 0.5), (1000, 0.2)):
        found = combined_losses(HELD_OUT, timeline, next_row=row)
        now = english * 1 + (1 - english) * (0.75 * 2 + 0.25 * 4)
        assert found.at_fixed_shares == pytest.approx(end)
        assert found.at_current_shares == pytest.approx(now, rel=2e-3)


def test_an_amendment_moves_the_current_shares_alone() -> None:
    amended = {"step": 5, "kind": "amend", "row": 500, "corpora": {}, "relisted": {}}
    timeline = fold([start(RAMP), amended | {"curriculum": curriculum("0%")}])
    found = combined_losses(HELD_OUT, timeline, next_row=600)
    assert found.at_fixed_shares == pytest.approx(0.2 + 1.2 + 0.8)
    assert found.at_current_shares == pytest.approx(0.75 * 2 + 0.25 * 4)


def test_a_source_without_held_out_documents_is_left_out_and_none_gives_none() -> None:
    timeline = fold([start(RAMP)])
    known = {name: HELD_OUT[name] for name in ("books", "wiki")}
    found = combined_losses(known, timeline, next_row=1000)
    assert found.at_fixed_shares == pytest.approx((0.2 * 1 + 0.6 * 2) / 0.8)
    assert combined_losses({}, timeline, next_row=0) == (None, None)
