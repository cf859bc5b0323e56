"""Tables of `linly evaluate`: an exam's scores, two models side by side, bits per byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from linly.cli.printed_table import print_table

if TYPE_CHECKING:
    from linly.exams.paired_test import Paired
    from linly.records.evaluation_record import SourceEvaluation
    from linly.records.exam_record import ExamRecord

MOSTLY = 0.9
"""Fraction of equal letters from which a note says that the model prefers one."""


def form_line(record: ExamRecord) -> str:
    """How an exam was asked, in one line."""
    bos = "with BOS" if record.has_bos else "without BOS, since tokenizer.json adds none"
    limit = "" if record.limit is None else f", first {record.limit} of each subject"
    return (
        f"{record.exam} ({record.split}, {record.num_questions:,} questions{limit}): "
        f"{record.shots}-shot, prompts of the {record.form}, delimiter {record.delimiter!r} before "
        f"the answer, {bos}; lm-eval {record.harness}, task version {record.version}, "
        f"{record.dtype}, {record.seconds:.1f} s on {record.world_size} "
        f"process{'es' if record.world_size > 1 else ''}"
    )


def print_exam(record: ExamRecord) -> None:
    """Print an exam's scores by subject, and together."""
    print(f"\n{form_line(record)}")
    rows = [
        (
            name,
            f"{subject.questions:,}",
            _percent(subject.accuracy, subject.standard_error),
            _letters(subject.answered, subject.questions),
        )
        for name, subject in record.subjects.items()
    ]
    total = record.num_questions
    answered = _letters(record.answered, total)
    rows.append(("micro", f"{total:,}", _percent(record.micro, record.micro_error), answered))
    if record.macro is not None:
        rows.append(("macro", "", _percent(record.macro, record.macro_error), ""))
        rows.append(("chance", "", _percent(record.chance, None), ""))
        key = _letters(record.expected, total)
        rows.append(("the same letter always, at best", "", _percent(record.constant, None), key))
    print_table(("subject", "questions", "accuracy", "answered"), rows)
    for note in notes(record):
        print(f"note: {note}")


def notes(record: ExamRecord) -> list[str]:
    """Remarks on a score that the score itself does not show."""
    total = record.num_questions
    letter, number = max(record.answered.items(), key=lambda item: item[1])
    found = []
    if number >= MOSTLY * total:
        found.append(
            f"the model answers {letter} to {number / total:.1%} of the questions, so the "
            f"accuracy is that of the letter"
        )
    if record.num_shortened:
        found.append(
            f"{record.num_shortened:,} of {total:,} questions were asked with fewer than "
            f"{record.shots} examples, since their prompts did not fit"
        )
    return found


def print_comparison(pairs: Mapping[str, tuple[ExamRecord, ExamRecord, Paired | None]]) -> None:
    """Print two models side by side, one line per exam.

    Args:
        pairs: Records before and after with the paired test by exam; without one if the answers
            are secret.
    """
    rows = [
        (
            name,
            _percent(before.micro, before.micro_error),
            _percent(after.micro, after.micro_error),
            f"{100 * paired.change:+.2f}",
            f"{paired.only_before:,}",
            f"{paired.only_after:,}",
            f"{paired.p_value:.2g}",
        )
        for name, (before, after, paired) in pairs.items()
        if paired is not None
    ]
    if rows:
        heads = ("exam", "before", "after", "change", "only before right", "only after right")
        print("\nthe same questions, both models; p by McNemar's exact test")
        print_table((*heads, "p"), rows)


def print_held_out(
    after: Mapping[str, SourceEvaluation], before: Mapping[str, SourceEvaluation] | None
) -> None:
    """Print bits per byte by source."""
    heads = ["source", "language", "documents", "bytes", "bits per byte"]
    heads += [] if before is None else ["before", "change"]
    rows = []
    for name, found in after.items():
        value = found.bits_per_byte
        cells = [name, found.language, f"{found.documents:,}", f"{found.size_bytes:,}"]
        cells.append("–" if value is None else f"{value:.4f}")
        if before is not None:
            start = before[name].bits_per_byte
            known = value is not None and start
            cells.append("–" if start is None else f"{start:.4f}")
            cells.append(f"{value / start - 1:+.2%}" if known and value and start else "–")
        rows.append(cells)
    print("\nheld-out documents of the recipe's sources")
    print_table(heads, rows)


def _percent(value: float | None, error: float | None) -> str:
    if value is None:
        return "secret"
    return f"{value:.2%}" + ("" if error is None else f" ± {100 * error:.2f}")


def _letters(letters: Mapping[str, int], total: int) -> str:
    return "  ".join(f"{letter} {number / total:.1%}" for letter, number in letters.items())
