"""Everything that a step leaves in the run folder, and where warnings go."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linly.config.recipe import load_recipe
from linly.data.cursor import SourceCursor
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import BadRecord, Row
from linly.records.row_loss import RowLoss
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.ranks.processes import Processes
from linly.training.recording.guards import SkipReason
from linly.training.recording.recorder import Recorder

CUT = BadRecord("zh", "zh/0.jsonl.zst", 7, "cut short", ends_shard=True)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create_or_open(tmp_path / "run")


@pytest.fixture
def recorder(run: RunFolder, tiny_recipe: Path, alone: Processes) -> Recorder:
    return Recorder(run, load_recipe(tiny_recipe), alone, step=4, is_quiet=True)


def row(index: int, *bad: BadRecord) -> MixedRow:
    ids, starts = np.zeros(8, np.int32), np.zeros(1, np.int32)
    return MixedRow(index, 0, Row("zh", 0, ids, ids, starts, (), 0, SourceCursor(), bad), b"")


def losses(nll: float) -> list[RowLoss]:
    return [RowLoss(40, "zh", nll, 7), RowLoss(41, "zh", nll, 7)]


def in_rows(run: RunFolder, column: str) -> list[Any]:
    return [value for table in run.read_rows() for value in table[column].to_pylist()]


def test_a_step_leaves_metrics_rows_and_bad_records(run: RunFolder, recorder: Recorder) -> None:
    with recorder:
        rows = [row(40), row(41, CUT)]
        recorder.step(StepRecord(step=5), rows, losses(7.0), is_trained=True)
        assert in_rows(run, "row") == [], "rows are buffered"
    assert [record.step for record in run.read_steps()] == [5]
    assert in_rows(run, "row") == [40, 41]
    assert in_rows(run, "loss") == [1.0, 1.0]
    (bad,), (decision,) = run.read("quarantine"), run.read("decisions")
    assert (bad["step"], bad["row"], bad["record"]) == (5, 41, 7)
    assert (decision["kind"], decision["row"], decision["reason"]) == ("shard", 41, "cut short")


def test_rows_are_written_after_an_error_too(run: RunFolder, recorder: Recorder) -> None:
    with pytest.raises(KeyboardInterrupt), recorder:
        recorder.step(StepRecord(step=5), [row(40)], losses(7.0)[:1], is_trained=True)
        raise KeyboardInterrupt
    assert in_rows(run, "step") == [5]


def test_a_skipped_step_is_an_event_of_that_step(run: RunFolder, recorder: Recorder) -> None:
    with recorder:
        for step in (5, 6):
            is_trained = step == 5
            nll = 7.0 if is_trained else math.nan
            recorder.step(
                StepRecord(step=step, skipped=True),
                [row(40), row(41)],
                losses(nll),
                is_trained=is_trained,
            )
            if is_trained:
                recorder.skipped(SkipReason("loss is not finite", (41,), ("zh",)))
            else:
                recorder.skipped_by_fork([row(40), row(41)])
    found = [(event["step"], event["kind"], event["rows"]) for event in run.read("events")]
    assert found == [(5, "skip", [41]), (6, "pass", [40, 41])]
    assert in_rows(run, "loss") == [1.0, 1.0, None, None]


def test_a_warning_after_the_end_goes_to_standard_error(
    run: RunFolder, tiny_recipe: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(run, load_recipe(tiny_recipe), alone, step=0, is_quiet=True)
    with recorder:
        recorder.warning("first")
    recorder.warning("second")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("first\n", "warning: second\n")
