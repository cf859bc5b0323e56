"""What the live page is told: the run's state in a sentence, news only, documents of a step."""

from __future__ import annotations

from pathlib import Path

import orjson

from linly.monitor.history.documents import rows_of_step
from linly.monitor.history.follow import RunFollower
from linly.monitor.pages.snapshot import MIN_STALL_S, Snapshots, pulse
from tests.support.synthetic_run import SyntheticRun


def test_the_pulse_tells_waiting_live_stalled_over_and_damaged(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    follower = RunFollower(run.path)
    assert pulse(follower.look(), 0.0).state == "waiting"
    run.start()
    run.train(1, 30)
    last = 1.7e9 + 30 * 2.0
    look = follower.look()
    assert pulse(look, last + 5).text == "live: step 30, 5.0 s ago"
    assert pulse(look, last + MIN_STALL_S + 1).state == "stalled"
    run.note(30, "stop", "ended after step 30")
    assert pulse(follower.look(), last + MIN_STALL_S + 1).text == (
        "not running: ended after step 30"
    )
    with (run.path / "events.jsonl").open("ab") as log:
        log.write(b"?\n")
    assert pulse(follower.look(), last).state == "problem"


def test_a_snapshot_is_json_and_stays_until_the_run_moves(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 30)
    snapshots = Snapshots([RunFollower(run.path)])
    first, _ = snapshots.now()
    assert snapshots.now()[0] is first
    assert orjson.loads(orjson.dumps(first.content))["steps"][-1] == 30
    assert set(first.content["charts"]) == set(first.content["notes"])
    assert first.content["parts"]["legend"].count("<button") == 3


def test_a_step_shows_its_own_rows_only(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 230)
    found = rows_of_step(run.path, 150)
    assert [row.row for row in found.rows] == list(range(149 * 16, 150 * 16))
    assert found.rows[0].documents[0].record == 149 * 16
    assert found.last_step == 200
    assert rows_of_step(run.path, 215).rows == ()
