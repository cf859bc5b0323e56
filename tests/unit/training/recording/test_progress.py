"""What is printed: plain lines where there is no terminal, warnings alone when quiet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from linly.records.evaluation_record import (
    EvaluationRecord,
    LanguageEvaluation,
    SourceEvaluation,
)
from linly.records.step_record import StepRecord
from linly.training.recording.progress import ProgressView

STEP = StepRecord(
    step=10,
    loss=2.5,
    lr=1e-4,
    tokens_seen=1000,
    tokens_per_second=500.0,
    realized_share_by_source={"wiki[bold]": 0.25, "web": 0.75, "none": 0.0},
)


def test_plain_lines_hold_shares_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    view = ProgressView(step=0, num_steps=20, is_quiet=False)
    view.step(STEP)
    view.message("held out")
    view.close()
    said = capsys.readouterr().out
    assert "step 10/20" in said and "wiki[bold] 25% web 75%" in said and "none" not in said
    assert "0:00:02 left" in said
    assert "held out" in said


def test_a_step_that_was_not_computed_has_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    view = ProgressView(step=0, num_steps=20, is_quiet=False)
    view.step(replace(STEP, loss=None, tokens_per_second=None, skipped=True))
    view.close()
    said = capsys.readouterr().out
    assert said.startswith("step 10/20  loss -  lr 1.00e-04  - tokens/s  ")
    assert said.endswith("  skipped\n")


def test_quiet_prints_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    view = ProgressView(step=0, num_steps=10, is_quiet=True)
    view.step(STEP)
    view.message("held out")
    view.warning("alarm at step 10")
    view.close()
    assert capsys.readouterr().out == "alarm at step 10\n"


def test_the_last_evaluation_stands_beside_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    view = ProgressView(step=0, num_steps=10, is_quiet=False)
    for step, bits in ((0, 2.5), (8, 1.25)):
        sources = {"wiki": SourceEvaluation(language="zh", bits_per_byte=bits, size_bytes=10)}
        languages = {"zh": LanguageEvaluation(bits_per_byte=bits)}
        view.evaluation(EvaluationRecord(step=step, sources=sources, languages=languages))
    view.step(STEP)
    view.close()
    evaluated, _, stepped = capsys.readouterr().out.splitlines()
    assert evaluated == "step 0 bits/byte: wiki 2.500"
    assert "bits/byte at 8: zh 1.250" in stepped
