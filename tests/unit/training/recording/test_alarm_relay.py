"""Alarms reach events.jsonl and the user's command, and never hold training up."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from linly.config.sections.watching_sections import AlarmSettings
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.recording.alarm_relay import AlarmRelay
from tests.support.synthetic_run import SyntheticRun

RECEIVER = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def relay_of(run: SyntheticRun, settings: AlarmSettings) -> AlarmRelay:
    def event(kind: str, text: str, **details: Any) -> None:
        run.folder.append_event(21, kind, text, **details)

    return AlarmRelay(run.folder, settings, event)


@pytest.fixture
def run(tmp_path: Path) -> SyntheticRun:
    made = SyntheticRun(tmp_path / "run")
    made.start()
    made.train(1, 20)
    return made


def drifting(run: SyntheticRun) -> StepRecord:
    last = list(run.folder.read_steps())[-1]
    return replace(last, step=21, drift_rows_by_source={"$(touch owned)": 1.5})


def alarms(path: Path) -> list[dict[str, Any]]:
    return [event for event in RunFolder.open(path).read("events") if event["kind"] == "alarm"]


def test_the_command_gets_json_and_no_shell(run: SyntheticRun, tmp_path: Path) -> None:
    received = tmp_path / "received"
    command = (sys.executable, "-c", RECEIVER, str(received))
    relay = relay_of(run, AlarmSettings(command=command))
    (line,) = relay.step(drifting(run), bad_records=0)
    assert line.startswith("alarm at step 21: source $(touch owned): +1.50 rows")
    relay.close()
    (written,) = alarms(run.path)
    assert (written["rule"], written["source"]) == ("drift", "$(touch owned)")
    message = orjson.loads(received.read_bytes())
    assert message["run"] == str(run.path)
    assert (message["step"], message["rule"]) == (21, "drift")
    assert message["text"] == written["text"]


def test_what_the_log_holds_is_not_raised_again(run: SyntheticRun) -> None:
    run.folder.append_step(drifting(run))
    relay = relay_of(run, AlarmSettings())
    assert relay.step(replace(drifting(run), step=22), bad_records=0) == []
    assert alarms(run.path) == []


@pytest.mark.parametrize(
    ("command", "why"),
    [(("/nowhere/bell",), "No such file"), ((sys.executable, "-c", "exit(3)"), "exit code 3")],
)
def test_a_command_that_fails_is_written_down(
    run: SyntheticRun, command: tuple[str, ...], why: str
) -> None:
    relay = relay_of(run, AlarmSettings(command=command))
    relay.step(drifting(run), bad_records=0)
    relay.close()
    texts = [alarm["text"] for alarm in alarms(run.path)]
    assert len(texts) == 2
    assert f"alarms.command {command[0]}" in texts[1] and why in texts[1]


def test_training_does_not_wait_for_a_slow_command(
    run: SyntheticRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linly.training.recording.alarm_relay.CLOSE_TIMEOUT_S", 0.2)
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    relay = relay_of(run, AlarmSettings(command=command))
    began = time.monotonic()
    relay.step(drifting(run), bad_records=0)
    assert time.monotonic() - began < 5
    relay.close()
    assert time.monotonic() - began < 20
