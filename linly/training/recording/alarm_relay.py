"""Alarms on rank 0: written to the run's events, shown, and passed to the user's command."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence

import orjson

from linly.config.sections.watching_sections import AlarmSettings
from linly.records.evaluation_record import EvaluationRecord
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.recording.alarms import Alarm, AlarmWatch

MAX_COMMANDS = 8
"""Maximum number of commands at once; further alarms do not start one."""

CLOSE_TIMEOUT_S = 10.0


class AlarmRelay:
    """Watches a run and passes on its alarms; training does not wait for the command."""

    def __init__(self, run: RunFolder, settings: AlarmSettings, event: Callable[..., None]) -> None:
        """Watch a run; alarms from its existing logs are not raised again.

        Args:
            run: Folder of the run.
            settings: Alarm rules, and the user's command.
            event: Function that adds a line to the run's events: kind, text, details by name.
        """
        self._run = run
        self._event = event
        self._command = settings.command
        self._running: list[subprocess.Popen[bytes]] = []
        self._watch = AlarmWatch(settings)
        bad = Counter(line["step"] for line in run.read("quarantine"))
        for evaluation in run.read_evaluations():
            self._watch.evaluation(evaluation)
        for step in run.read_steps():
            self._watch.step(step, bad_records=bad[step.step])

    def step(self, record: StepRecord, *, bad_records: int) -> list[str]:
        """Pass on the alarms of a step, and return the lines to show."""
        texts = self._reap()
        return texts + self._raise(self._watch.step(record, bad_records=bad_records))

    def evaluation(self, record: EvaluationRecord) -> list[str]:
        """Pass on the alarms of an evaluation, and return the lines to show."""
        return self._raise(self._watch.evaluation(record))

    def close(self) -> None:
        """Wait briefly for running commands, then kill them."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for process in self._running:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._reap()

    def _raise(self, alarms: Sequence[Alarm]) -> list[str]:
        texts = []
        for alarm in alarms:
            self._event("alarm", alarm.text, rule=alarm.rule, source=alarm.source)
            texts.append(f"alarm at step {alarm.step}: {alarm.text}")
            if self._command:
                texts += self._start(alarm)
        return texts

    def _start(self, alarm: Alarm) -> list[str]:
        """Run the command for an alarm, without a shell."""
        if len(self._running) >= MAX_COMMANDS:
            return self._failed(f"not started: {MAX_COMMANDS} of them still run")
        message = {
            "run": str(self._run.path),
            "step": alarm.step,
            "time": time.time(),
            "rule": alarm.rule,
            "source": alarm.source,
            "text": alarm.text,
        }
        try:
            process = subprocess.Popen(  # noqa: S603 (the user's own program, as a list)
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            return self._failed(str(error))
        self._running.append(process)
        assert process.stdin is not None
        try:
            process.stdin.write(orjson.dumps(message) + b"\n")  # fits into the pipe
            process.stdin.close()
        except BrokenPipeError:  # it does not read stdin; its exit code is reported
            pass
        return []

    def _reap(self) -> list[str]:
        """Collect ended commands, and return a line for each that failed."""
        ended = [process for process in self._running if process.poll() is not None]
        self._running = [process for process in self._running if process.poll() is None]
        return [
            line
            for process in ended
            if process.returncode
            for line in self._failed(f"exit code {process.returncode}")
        ]

    def _failed(self, why: str) -> list[str]:
        text = f"alarms.command {self._command[0]}: {why}"
        self._event("alarm", text)
        return [text]
