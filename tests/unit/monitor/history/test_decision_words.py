"""Decisions as a reader of the page sees them."""

from __future__ import annotations

from typing import Any

from linly.monitor.history.decisions import Event, decision_events, told

RESUME = {"step": 5, "kind": "resume", "evaluated_step": 5, "changes": [], "set_aside": []}
START = {"step": 0, "kind": "start", "row": 0, "sequence_length": 8}


def texts(*lines: dict[str, Any]) -> list[str]:
    return [event.text for event in decision_events([START, *lines])]


def test_a_start_and_a_resume_that_changed_nothing_are_no_news() -> None:
    assert texts(RESUME) == []
    change = {"key": "training.lr", "before": "5e-5", "now": "1e-4"}
    resume = RESUME | {"changes": [change], "set_aside": ["step-00000010"]}
    assert texts(resume) == ["training.lr: 5e-5 to 1e-4; set aside step-00000010"]


def test_what_was_left_behind_by_going_back_is_not_told() -> None:
    later = {"step": 9, "kind": "guard", "group": "en", "before": 0, "after": 1}
    assert texts(later) == ["en raised from level 0 to 1"]
    assert texts(later, RESUME) == []


def test_guards_and_amendments_say_what_moved() -> None:
    guard = {"step": 4, "kind": "guard", "group": "en", "source": "books", "before": 2, "after": 1}
    assert texts(guard | {"bits_per_byte": 1.05, "baseline": 1.0}) == [
        "en lowered from level 2 to 1: books +5.00% bits per byte since step 0"
    ]
    mixture = {
        "english": {"ratio": {"curve": "cosine", "from": "70%", "to": "20%"}},
        "parallel": {"ratio": {"curve": "linear", "points": {"0%": "10%", "100%": "5%"}}},
        "chinese": {"ratio": "rest"},
    }
    amend = {"step": 4, "kind": "amend", "row": 3200, "curriculum": {"mixture": mixture}}
    assert texts(amend | {"relisted": {"books": {}}}) == [
        "from row 3,200 on: english cosine 70% to 20%, parallel linear 10% to 5%, chinese rest; "
        "other shards of books"
    ]


def test_a_lost_shard_and_a_fork_are_told() -> None:
    lost = {"step": 4, "kind": "shard", "row": 9, "source": "books", "shard": "a.zst"}
    assert texts(lost | {"record": 17, "reason": "cut short"}) == [
        "source books: shard a.zst left at record 17: cut short"
    ]
    fork = {"step": 4, "kind": "fork", "run": "runs/a", "skip_steps": [[5, 7], [9, 9]]}
    assert texts(fork) == ["forked from runs/a, skipping steps 5-7, 9-9"]


def test_a_kind_that_is_not_known_is_shown_by_its_values_in_short() -> None:
    line = {"step": 4, "time": 1.0, "kind": "moon", "phase": "full", "levels": {"a": 1}}
    assert texts(line) == ["phase full"]
    assert len(texts(line | {"phase": "x" * 10_000})[0]) < 320
    assert texts({"step": 4, "kind": "moon", "text": "it rose"}) == ["it rose"]


def test_an_event_that_tells_of_a_decision_lends_it_its_words() -> None:
    decisions = [Event(4, 1.0, "guard", "a"), Event(4, 1.0, "guard", "b"), Event(6, 2.0, "x", "c")]
    events = [Event(4, 1.5, "guard", "en raised"), Event(4, 1.5, "guard", "code raised")]
    assert [one.text for one in told(decisions, events)] == ["en raised", "code raised", "c"]
