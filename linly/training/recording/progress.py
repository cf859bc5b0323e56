"""Progress of training: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from linly.records.evaluation_record import EvaluationRecord
from linly.records.step_record import StepRecord

PLAIN_INTERVAL_S = 10.0


class ProgressView:
    """Shows step, tokens/s, loss, shares and time left; used on rank 0 only."""

    def __init__(self, *, step: int, num_steps: int, is_quiet: bool) -> None:
        """Show a run that has taken `step` of `num_steps`; if quiet, only warnings."""
        self._is_quiet = is_quiet
        self._num_steps = num_steps
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._last_line_at = 0.0
        self._evaluated = ""
        self._bar: Progress | None = None
        if self._console.is_terminal and not is_quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("step", total=num_steps, completed=step, numbers="")
            self._bar.start()

    def step(self, record: StepRecord) -> None:
        """Show a step."""
        if self._is_quiet:
            return
        if self._bar is not None:
            numbers = f"{_numbers(record)}{self._evaluated}"
            self._bar.update(self._task, completed=record.step, numbers=numbers)
            return
        is_last = record.step == self._num_steps
        if is_last or time.monotonic() - self._last_line_at > PLAIN_INTERVAL_S:
            self._last_line_at = time.monotonic()
            self._console.print(
                f"step {record.step}/{self._num_steps}  {_numbers(record)}{self._evaluated}"
                f"{self._time_left(record)}",
                markup=False,
            )

    def evaluation(self, record: EvaluationRecord) -> None:
        """Show an evaluation in full, and a short form with each step until the next one."""
        bits = "  ".join(
            f"{source} {_formatted(result.bits_per_byte, '.3f')}"
            for source, result in record.sources.items()
        )
        self.message(f"step {record.step} bits/byte: {bits or 'no held-out documents'}")
        short = " ".join(
            f"{language} {_formatted(result.bits_per_byte, '.3f')}"
            for language, result in record.languages.items()
        )
        self._evaluated = f"  bits/byte at {record.step}: {short}" if short else ""

    def message(self, text: str) -> None:
        """Show a separate line, unless quiet."""
        if not self._is_quiet:
            self.warning(text)

    def warning(self, text: str) -> None:
        """Show a separate line, even if quiet."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Restore the terminal."""
        if self._bar is not None:
            self._bar.stop()

    def _time_left(self, record: StepRecord) -> str:
        if record.tokens_per_second is None:
            return ""
        tokens_per_step = record.tokens_seen / record.step
        seconds_per_step = tokens_per_step / record.tokens_per_second
        return f"  {_duration((self._num_steps - record.step) * seconds_per_step)} left"


def _numbers(record: StepRecord) -> str:
    shares = " ".join(
        f"{source} {share:.0%}"
        for source, share in record.realized_share_by_source.items()
        if share > 0
    )
    loss, lr = _formatted(record.loss, ".4f"), _formatted(record.lr, ".2e")
    speed = _formatted(record.tokens_per_second, ",.0f")
    skipped = "  skipped" if record.skipped else ""
    return f"loss {loss}  lr {lr}  {speed} tokens/s  {shares}{skipped}"


def _formatted(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
