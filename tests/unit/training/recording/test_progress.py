"""What is printed: lines of means over the steps since the last one, warnings alone when quiet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from linly.records.evaluation_record import (
    EvaluationRecord,
    LanguageEvaluation,
    SourceEvaluation,
)
from linly.records.step_record import StepRecord
from linly.training.recording import progress
from linly.training.recording.progress import WIDTH, ProgressView, folded

STEP = StepRecord(
    step=10,
    loss=2.5,
    lr=1e-4,
    tokens_seen=1000,
    tokens_per_second=500.0,
    realized_share_by_source={"wiki[bold]": 0.25, "web": 0.5, "more": 0.25, "none": 0.0},
    target_share_by_source={"wiki[bold]": 0.3, "web": 0.45, "more": 0.25, "none": 0.0},
)
GROUPS = {"wiki[bold]": "zh[bold]", "web": "en", "more": "en", "none": "none"}


def view(*, num_steps: int = 20, is_quiet: bool = False) -> ProgressView:
    return ProgressView(step=0, num_steps=num_steps, groups=GROUPS, is_quiet=is_quiet)


def test_line_has_groups_beside_their_plan(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view()
    shown.step(STEP)
    shown.message("held out")
    shown.close()
    assert capsys.readouterr().out.splitlines() == [
        "step 10/20  loss 2.5000  lr 1.00e-04  500 tokens/s  0:00:02 left",
        "  share/plan  en 75.0/70.0%  zh[bold] 25.0/30.0%",
        "held out",
    ]


def test_line_averages_the_steps_since_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view()
    shown.step(STEP)  # the first one has a line of its own
    other = {"wiki[bold]": 0.75, "web": 0.0, "more": 0.25, "none": 0.0}
    for step, loss, speed, shares in ((11, 1.0, 100.0, other), (12, 3.0, 300.0, other)):
        shown.step(
            replace(
                STEP,
                step=step,
                loss=loss,
                tokens_per_second=speed,
                tokens_seen=100 * step,
                realized_share_by_source=shares,
            )
        )
    shown.step(replace(STEP, step=13, loss=None, tokens_per_second=None, skipped=True))
    shown.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("step 13/20  loss 2.0000  lr 1.00e-04  150 tokens/s  1 skipped  ")
    assert lines[3] == "  share/plan  en 41.7/70.0%  zh[bold] 58.3/30.0%"


def test_steps_within_the_interval_share_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100, 200))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    shown = view(num_steps=30)
    for step in range(1, 25):  # a second each
        shown.step(replace(STEP, step=step))
    shown.close()
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split()[1] for line in lines if line.startswith("step")]
    assert steps[0] == "1/30" and steps[-1] == "24/30"
    assert len(steps) == 4


def test_step_that_was_not_computed_has_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view()
    shown.step(replace(STEP, loss=None, tokens_per_second=None, skipped=True))
    shown.close()
    said = capsys.readouterr().out
    assert said.startswith("step 10/20  loss -  lr 1.00e-04  - tokens/s  1 skipped\n")


def test_quiet_prints_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view(is_quiet=True)
    shown.step(STEP)
    shown.message("held out")
    shown.warning("alarm at step 10")
    shown.close()
    assert capsys.readouterr().out == "alarm at step 10\n"


def test_last_evaluation_is_beside_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view()
    for step, bits in ((0, 2.5), (8, 1.25)):
        sources = {"wiki": SourceEvaluation(language="zh", bits_per_byte=bits, size_bytes=10)}
        languages = {"zh": LanguageEvaluation(bits_per_byte=bits)}
        shown.evaluation(EvaluationRecord(step=step, sources=sources, languages=languages))
    shown.step(STEP)
    shown.close()
    evaluated, _, stepped, shares = capsys.readouterr().out.splitlines()
    assert evaluated == "step 0 bits/byte: wiki 2.500"
    assert stepped.startswith("step 10/20")
    assert shares.endswith("  bits/byte at 8: zh 1.250")


def test_short_lines_stay_whole() -> None:
    assert folded("step 1/2", ["share/plan", "en 100.0/100.0%"]) == [
        "step 1/2  share/plan  en 100.0/100.0%"
    ]


def test_long_lines_are_folded_between_groups() -> None:
    parts = [f"a group with a long name {n} 10.0/10.0%" for n in range(7)]
    head, *lines = folded("step 1/2", parts)
    assert head == "step 1/2"
    assert max(map(len, lines)) <= WIDTH
    assert all(line.startswith("  a group") for line in lines)
    assert "  ".join(line.strip() for line in lines) == "  ".join(parts)
