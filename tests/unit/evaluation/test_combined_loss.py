"""Held-out losses joined at shares that stay and at those of the moment."""

from __future__ import annotations

from typing import Any

import pytest

from linly.curriculum.timeline import fold
from linly.evaluation.combined_loss import combined_losses


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
HELD_OUT = {"books": {"loss": 1.0}, "wiki": {"loss": 2.0}, "news": {"loss": 4.0}}


def test_the_fixed_shares_are_those_of_the_end_and_the_current_ones_move() -> None:
    timeline = fold([start(RAMP)])
    end = 0.2 * 1 + 0.6 * 2 + 0.2 * 4
    for row, english in ((0, 0.8), (500, 0.5), (1000, 0.2)):
        found = combined_losses(HELD_OUT, timeline, next_row=row)
        now = english * 1 + (1 - english) * (0.75 * 2 + 0.25 * 4)
        assert found["loss_at_fixed_shares"] == pytest.approx(end)
        assert found["loss_at_current_shares"] == pytest.approx(now, rel=2e-3)


def test_an_amendment_moves_the_current_shares_alone() -> None:
    amended = {"step": 5, "kind": "amend", "row": 500, "corpora": {}, "relisted": {}}
    timeline = fold([start(RAMP), amended | {"curriculum": curriculum("0%")}])
    found = combined_losses(HELD_OUT, timeline, next_row=600)
    assert found["loss_at_fixed_shares"] == pytest.approx(0.2 + 1.2 + 0.8)
    assert found["loss_at_current_shares"] == pytest.approx(0.75 * 2 + 0.25 * 4)


def test_a_source_without_held_out_documents_is_left_out_and_none_gives_none() -> None:
    timeline = fold([start(RAMP)])
    known = {name: HELD_OUT[name] for name in ("books", "wiki")}
    found = combined_losses(known, timeline, next_row=1000)
    assert found["loss_at_fixed_shares"] == pytest.approx((0.2 * 1 + 0.6 * 2) / 0.8)
    nothing = {"loss_at_fixed_shares": None, "loss_at_current_shares": None}
    assert combined_losses({}, timeline, next_row=0) == nothing
