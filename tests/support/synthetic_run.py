"""Run folders as a trainer leaves them, made in a second: the record of a run that never was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from linly.config.curriculum import load_curriculum
from linly.records.row_record import RowRecord
from linly.records.span import Span
from linly.runs.runs import RunFolder

CURRICULUM = """\
name: small
tokens: {tokens}
mixture:
  english:
    ratio: {{curve: cosine, from: 75%, to: 25%}}
    sources: {{slimpajama: 100%}}
  instruction:
    ratio: {{curve: linear, from: 0%, to: 15%, until: 80%}}
    sources: {{belle: 100%}}
  chinese:
    ratio: rest
    sources: {{wiki2019zh: 100%}}
"""


@dataclass
class SyntheticRun:
    """A run whose losses follow simple curves; every number is a function of its step."""

    path: Path
    num_steps: int = 500
    rows_per_step: int = 16
    sequence_length: int = 256
    english: str = "slimpajama"
    chinese: str = "wiki2019zh"
    instruction: str = "belle"
    with_curriculum: bool = True
    rows: dict[str, int] = field(default_factory=dict)
    supervised: dict[str, int] = field(default_factory=dict)
    padding: dict[str, int] = field(default_factory=dict)
    pending: list[RowRecord] = field(default_factory=list)
    saved: tuple[int, dict[str, int], dict[str, int], dict[str, int]] = (0, {}, {}, {})

    def __post_init__(self) -> None:
        self.folder = RunFolder.create_or_open(self.path)
        self.languages = {self.english: "en", self.chinese: "zh", self.instruction: "zh"}
        if self.with_curriculum:
            tokens = self.num_steps * self.rows_per_step * self.sequence_length
            (self.path / "curriculum.yaml").write_text(CURRICULUM.format(tokens=tokens))
            curriculum = load_curriculum(self.path / "curriculum.yaml")
            start = {"step": 0, "kind": "start", "row": 0, "sequence_length": self.sequence_length}
            form = {"curriculum": curriculum.file_form(), "corpora": {}}
            self.folder.append("decisions", start | form)
            (self.path / "recipe.yaml").write_text("name: small\ntraining:\n  lr: 1e-4\n")

    def shares(self, position: float) -> dict[str, float]:
        english = 0.25 + 0.5 * (1 + math.cos(math.pi * position)) / 2
        instruction = 0.15 * min(position / 0.8, 1.0)
        return {
            self.english: english,
            self.instruction: instruction,
            self.chinese: 1 - english - instruction,
        }

    def integral(self, position: float) -> dict[str, float]:
        total = self.num_steps * self.rows_per_step
        english = 0.5 * position + 0.25 * math.sin(math.pi * position) / math.pi
        ramp = min(position, 0.8)
        instruction = 0.15 * (ramp * ramp / 1.6 + (position - ramp))
        return {
            self.english: english * total,
            self.instruction: instruction * total,
            self.chinese: (position - english - instruction) * total,
        }

    def start(self) -> None:
        self.note(0, "start", "training starts with 2 processes", start=True)
        self.evaluate(0)

    def note(self, step: int, kind: str, text: str, *, start: bool = False) -> None:
        record = {"step": step, "time": 1.7e9 + step * 2.0, "kind": kind, "text": text}
        if start:
            record["machine"] = {"host": "node-1", "processors": 16, "gpus": "none"}
            record["versions"] = {"linly": "0.1.0", "torch": "2.13.0"}
        self.folder.append("events", record)

    def loss(self, source: str, step: int) -> float:
        position = step / self.num_steps
        noise = 0.04 * math.sin(step * 12.9898 + len(source))
        if self.languages[source] == "en":
            return 3.1 + 0.08 * position + noise
        return 5.2 - 2.4 * (1 - math.exp(-4 * position)) + noise

    def train(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            self._step(step)
            if step % 100 == 0 or step == self.num_steps:
                self._save(step)
            if step % 125 == 0 or step == self.num_steps:
                self.evaluate(step)

    def _save(self, step: int) -> None:
        self.folder.write_rows(self.pending)
        self.pending = []
        self.folder.fsync()
        self.note(step, "checkpoint", f"checkpoints/step-{step:08d}")
        self.saved = (step, dict(self.rows), dict(self.supervised), dict(self.padding))

    def resume(self) -> int:
        """Go on as a new process would after a crash; gives the step resumed."""
        self.folder.close()
        step = self.saved[0]
        self.rows, self.supervised, self.padding = (dict(counts) for counts in self.saved[1:])
        self.pending = []
        self.folder = RunFolder.create_or_open(self.path)
        self.folder.truncate(step)
        self.note(step, "resume", f"from checkpoints/step-{step:08d}", start=True)
        return step

    def _step(self, step: int) -> None:
        total = self.num_steps * self.rows_per_step
        before = dict(self.rows)
        in_step: dict[str, int] = {}
        for row in range((step - 1) * self.rows_per_step, step * self.rows_per_step):
            integral = self.integral((row + 1) / total)
            source = max(integral, key=lambda name: integral[name] - self.rows.get(name, 0))
            is_packed = source == self.instruction
            padding = 10 + row % 40 if is_packed else 0
            supervised = self.sequence_length - (120 if is_packed else 1)
            self.rows[source] = self.rows.get(source, 0) + 1
            self.supervised[source] = self.supervised.get(source, 0) + supervised
            self.padding[source] = self.padding.get(source, 0) + padding
            in_step[source] = in_step.get(source, 0) + 1
            self.pending.append(
                RowRecord(
                    row=row,
                    step=step,
                    rank=row % 2,
                    world_size=2,
                    source=source,
                    epoch=self.rows[source] // 1500,
                    supervised_tokens=supervised,
                    padding=padding,
                    loss=self.loss(source, step),
                    documents=(Span(f"{source}/0.jsonl", row, 0, self.sequence_length),),
                )
            )
        planned = self.integral(step / self.num_steps)
        losses = {name: self.loss(name, step) for name in in_step}
        self.folder.append(
            "metrics",
            {
                "step": step,
                "time": 1.7e9 + step * 2.0,
                "tokens_seen": step * self.rows_per_step * self.sequence_length,
                "loss": sum(losses[n] * in_step[n] for n in in_step) / self.rows_per_step,
                "loss_by_source": losses,
                "lr": 1e-4 * min(step / 10, 0.55 + 0.45 * math.cos(math.pi * step / 500)),
                "grad_norm": 1.0 + 0.3 * math.sin(step * 7.77),
                "tokens_per_second": 2000.0 + 100 * math.sin(step),
                "data_wait_fraction": 0.002 + 0.002 * math.sin(step) ** 2,
                "target_share_by_source": self.shares((step - 0.5) / self.num_steps),
                "realized_share_by_source": {
                    name: (count - before.get(name, 0)) / self.rows_per_step
                    for name, count in self.rows.items()
                },
                "rows_by_source": self.rows,
                "planned_rows_by_source": planned,
                "drift_rows_by_source": {n: self.rows.get(n, 0) - planned[n] for n in planned},
                "supervised_tokens_by_source": self.supervised,
                "padding_by_source": self.padding,
                "epoch_by_source": {n: c / 1500 for n, c in self.rows.items()},
                "mfu": None,
                "skipped": step == 301,
            },
        )
        if step == 301:
            self.note(step, "skip", "loss 10 deviations above the last 50 steps")
        if step % 90 == 0:
            self.folder.append(
                "quarantine",
                {
                    "step": step,
                    "row": step * self.rows_per_step,
                    "source": self.instruction,
                    "shard": "belle/0.jsonl",
                    "record": step,
                    "reason": "field output is empty" if step % 180 else "not JSON",
                },
            )

    def combined(self, step: int, position: float) -> float:
        """The losses of a step at the shares of a position."""
        return sum(share * self.loss(name, step) for name, share in self.shares(position).items())

    def amend(self, step: int) -> None:
        """Write down an amendment that changes nothing of the plan."""
        form = load_curriculum(self.path / "curriculum.yaml").file_form()
        self.folder.append(
            "decisions",
            {
                "step": step,
                "time": 1.7e9 + step * 2.0,
                "kind": "amend",
                "row": step * self.rows_per_step,
                "curriculum": form,
                "corpora": {},
                "relisted": {},
            },
        )

    def tasks(self, position: float) -> dict[str, dict[str, object]]:
        """Results of an exam and of the in-context probe."""
        exam = {
            "questions": 200,
            "accuracy": 0.25 + 0.05 * position,
            "text_accuracy": 0.27 + 0.1 * position,
            "bits_per_byte": 1.9 - 0.6 * position,
            "letters": {"A": 80, "B": 40, "C": 40, "D": 40},
            "watched": "bits_per_byte",
            "prompts": "0123456789abcdef",
        }
        probe = {
            "questions": 200,
            "accuracy": 0.6 - 0.2 * position,
            "bits_per_answer": 3.0 + position,
            "copy_gain": 5.0 - position,
            "watched": "accuracy",
            "prompts": "fedcba9876543210",
        }
        return {"cmmlu": exam, "icl": probe}

    def evaluate(self, step: int) -> None:
        self.folder.append(
            "evaluations",
            {
                "step": step,
                "time": 1.7e9 + step * 2.0,
                "tokens_seen": step * self.rows_per_step * self.sequence_length,
                "sources": {
                    name: {
                        "language": language,
                        "kind": "instruction" if name == self.instruction else "text",
                        "documents": 40,
                        "loss": self.loss(name, step),
                        "bits_per_byte": self.loss(name, step) / (4.4 if language == "en" else 2.7),
                        "tokens": 5000,
                        "bytes": 22000 if language == "en" else 13500,
                    }
                    for name, language in self.languages.items()
                },
                "loss_at_fixed_shares": self.combined(step, 1.0),
                "loss_at_current_shares": self.combined(step, step / self.num_steps),
                "new_pieces": {
                    "num_pieces": 8076,
                    "num_seen": round(8076 * (1 - math.exp(-5 * step / self.num_steps))),
                    "share_of_tokens": 0.1 + 0.2 * step / self.num_steps if step else None,
                    "norm": 0.9 + 0.3 * step / self.num_steps,
                    "norm_of_others": 1.3,
                },
                "tasks": self.tasks(step / self.num_steps),
                "weight_drift": {
                    part: 0.01 * share * step / self.num_steps
                    for share, part in enumerate(("all", "embedding", "layer-0", "head"), start=1)
                },
            },
        )
        if step in (0, self.num_steps):
            for prompt in ("北京是", "The capital of France is"):
                text = "Paris 。" if step == 0 else "中国的首都。它是一座有三千多年历史的城市。"
                self.folder.append("samples", {"step": step, "prompt": prompt, "text": text})

    def whole(self) -> Path:
        """Train to the end, with a crash and a resume on the way."""
        self.start()
        self.train(1, self.num_steps * 7 // 10 + 13)
        self.train(self.resume() + 1, self.num_steps)
        self.note(self.num_steps, "end", "the curriculum is done")
        self.folder.close()
        return self.path
