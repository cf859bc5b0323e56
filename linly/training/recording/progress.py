"""Progress of training: a line every ten seconds, above a progress bar on a terminal.

    step 120/4768  loss 2.1034  lr 4.98e-05  251,003 tokens/s  2:10:11 left
      share/plan  chinese 38.1/38.0%  english 45.2/45.0%  parallel 16.7/17.0%

Everything in a line is averaged over the steps since the last one. A step of a small batch says
little about shares: its rows are whole, and the plan is kept over many steps.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from linly.records.evaluation_record import EvaluationRecord, SourceEvaluation
from linly.records.step_record import StepRecord
from linly.records.task_record import TaskEvaluation

INTERVAL_S = 10.0
WIDTH = 100


class ProgressView:
    """Shows steps, evaluations and messages on standard output; used on rank 0 only."""

    def __init__(
        self, *, step: int, num_steps: int, groups: Mapping[str, str], is_quiet: bool
    ) -> None:
        """Show a run.

        Args:
            step: Steps taken so far.
            num_steps: Steps of the run.
            groups: Group of each source.
            is_quiet: Whether to show warnings only.
        """
        self._is_quiet = is_quiet
        self._num_steps = num_steps
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._next_line_at = time.monotonic()
        self._means = _Means(groups)
        self._evaluated: list[str] = []
        self._bar: Progress | None = None
        if self._console.is_terminal and not is_quiet:
            self._bar = Progress(
                TextColumn("step"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("step", total=num_steps, completed=step)
            self._bar.start()

    def step(self, record: StepRecord) -> None:
        """Show a step: by itself, or in the next line."""
        if self._is_quiet:
            return
        self._means.add(record)
        if self._bar is not None:
            self._bar.update(self._task, completed=record.step)
        if time.monotonic() >= self._next_line_at:
            self._flush()

    def evaluation(self, record: EvaluationRecord) -> None:
        """Show an evaluation in full, and a short form with each line until the next one."""
        self._flush()
        self.message(f"step {record.step} bits/byte: {_bits(record.sources)}")
        if record.average is not None:
            self.message(f"  {record.average.title}: {_bits(record.average.sources)}")
        if record.tasks:
            tasks = "  ".join(f"{name} {task_words(task)}" for name, task in record.tasks.items())
            self.message(f"step {record.step} tasks: {tasks}")
        short = [
            f"{language} {_formatted(result.bits_per_byte, '.3f')}"
            for language, result in record.languages.items()
        ]
        self._evaluated = [f"bits/byte at {record.step}:", *short] if short else []

    def message(self, text: str) -> None:
        """Show a separate line, unless quiet."""
        if not self._is_quiet:
            self.warning(text)

    def warning(self, text: str) -> None:
        """Show a separate line, even if quiet."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Show the steps since the last line, and restore the terminal."""
        self._flush()
        if self._bar is not None:
            self._bar.stop()

    def _flush(self) -> None:
        """Print a line of the steps since the last one, if any."""
        if self._means.last is not None:
            head = self._means.head(self._num_steps)
            parts = [*self._means.shares(), " ".join(self._evaluated)]
            self._console.print("\n".join(folded(head, filter(None, parts))), markup=False)
            self._means.clear()
            self._next_line_at = time.monotonic() + INTERVAL_S


class _Means:
    """Means over the steps since the last line; all steps of a run have equally many tokens."""

    def __init__(self, groups: Mapping[str, str]) -> None:
        self._groups = groups
        self.clear()

    def clear(self) -> None:
        """Begin a new line."""
        self.last: StepRecord | None = None
        self._num_steps = 0
        self._num_skipped = 0
        self._losses: list[float] = []
        self._seconds_per_token: list[float] = []
        self._shares: dict[str, float] = defaultdict(float)
        self._plan: dict[str, float] = defaultdict(float)

    def add(self, record: StepRecord) -> None:
        """Add a step."""
        self.last = record
        self._num_steps += 1
        self._num_skipped += record.skipped
        if record.loss is not None:
            self._losses.append(record.loss)
        if record.tokens_per_second:
            self._seconds_per_token.append(1 / record.tokens_per_second)
        for totals, shares in (
            (self._shares, record.realized_share_by_source),
            (self._plan, record.target_share_by_source),
        ):
            for source, share in shares.items():
                totals[self._groups.get(source, source)] += share

    def head(self, num_steps: int) -> str:
        """Step, loss, learning rate, throughput and time left."""
        assert self.last is not None
        seconds_per_token = _mean(self._seconds_per_token)
        speed = None if seconds_per_token is None else 1 / seconds_per_token
        parts = [
            f"step {self.last.step}/{num_steps}",
            f"loss {_formatted(_mean(self._losses), '.4f')}",
            f"lr {_formatted(self.last.lr, '.2e')}",
            f"{_formatted(speed, ',.0f')} tokens/s",
        ]
        if self._num_skipped:
            parts.append(f"{self._num_skipped} skipped")
        if seconds_per_token is not None:
            tokens_left = self.last.tokens_seen / self.last.step * (num_steps - self.last.step)
            parts.append(f"{_duration(tokens_left * seconds_per_token)} left")
        return "  ".join(parts)

    def shares(self) -> list[str]:
        """Realized and planned share of each group that has either."""
        found = [
            f"{group} {self._shares[group] / self._num_steps:.1%}".removesuffix("%")
            + f"/{self._plan[group] / self._num_steps:.1%}"
            for group in sorted(self._shares.keys() | self._plan.keys())
            if self._shares[group] or self._plan[group]
        ]
        return ["share/plan", *found] if found else []


def task_words(task: TaskEvaluation) -> str:
    """Figures of a task in short: `27.5% (by text 30.0%, 1.234 bits/byte)`."""
    parts = [
        f"{label}{format(value, form)}{unit}"
        for value, label, form, unit in (
            (task.text_accuracy, "by text ", ".1%", ""),
            (task.bits_per_byte, "", ".3f", " bits/byte"),
            (task.bits_per_answer, "", ".2f", " bits/answer"),
            (task.copy_gain, "copy gain ", ".2f", " bits/token"),
        )
        if value is not None
    ]
    return f"{_formatted(task.accuracy, '.1%')} ({', '.join(parts)})"


def folded(head: str, parts: Iterable[str]) -> list[str]:
    """Join parts in one line of WIDTH columns or, if they are longer, in indented lines below."""
    rest = list(parts)
    whole = "  ".join([head, *rest])
    if len(whole) <= WIDTH:
        return [whole]
    lines = [head, " "]
    for part in rest:
        if len(lines[-1]) + 2 + len(part) > WIDTH and lines[-1].strip():
            lines.append(" ")
        lines[-1] += f" {part}" if lines[-1] == " " else f"  {part}"
    return lines


def _bits(sources: Mapping[str, SourceEvaluation]) -> str:
    """Bits per byte of each source."""
    bits = "  ".join(
        f"{source} {_formatted(result.bits_per_byte, '.3f')}" for source, result in sources.items()
    )
    return bits or "no held-out documents"


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _formatted(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
