"""TensorBoard shows what metrics.jsonl says, also after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from linly.records.evaluation_record import EvaluationRecord, SourceEvaluation
from linly.records.step_record import StepRecord
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.scalars import scalars_of
from linly.training.recording.trackers.tensorboard import TensorBoardLog


def record(step: int, loss: float | None = 2.0) -> StepRecord:
    return StepRecord(
        step=step,
        tokens_seen=step * 100,
        loss=loss,
        loss_by_source={"wiki": loss, "a+b (c)": None},
        lr=1e-4,
        grad_norm=1.5,
        tokens_per_second=1000.0,
        data_wait_fraction=0.01,
        target_share_by_source={"wiki": 0.75, "a+b (c)": 0.25},
        realized_share_by_source={"wiki": 0.5, "a+b (c)": 0.5},
        rows_by_source={"wiki": 3, "a+b (c)": 1},
        padding_by_source={"wiki": 0, "a+b (c)": 10 * step},
        drift_rows_by_source={"wiki": -0.75, "a+b (c)": 0.75},
    )


def points(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(run.path / "tensorboard"))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    folder = RunFolder.create_or_open(tmp_path / "run")
    yield folder
    folder.close()


def test_scalars_are_those_of_the_step(run: RunFolder) -> None:
    with closing(TensorBoardLog(run, resumed_step=0)) as log:
        held_out = {"wiki": SourceEvaluation(bits_per_byte=1.5, loss=3.0)}
        log.add(scalars_of(EvaluationRecord(step=0, sources=held_out)), step=0)
        log.add(scalars_of(record(1)), step=1)
    assert points(run, "loss") == [(1, 2.0)]
    assert points(run, "loss/wiki") == [(1, 2.0)]
    assert points(run, "share/wiki/target") == [(1, 0.75)]
    assert points(run, "share/wiki/realized") == [(1, 0.5)]
    assert points(run, "drift_rows/wiki") == [(1, -0.75)]
    assert points(run, "drift_rows_largest") == [(1, 0.75)]
    assert points(run, "bits_per_byte/wiki") == [(0, 1.5)]
    assert points(run, "tokens_seen") == [(0, 0.0), (1, 100.0)]
    assert points(run, "fill/wiki") == [(1, 1.0)]
    assert points(run, "fill/a%2Bb%20%28c%29") == [(1, pytest.approx(0.6))]  # 10 of 25 are padding


def test_a_value_that_is_not_there_has_no_point(run: RunFolder) -> None:
    with closing(TensorBoardLog(run, resumed_step=0)) as log:
        log.add(scalars_of(record(1, loss=None)), step=1)
        log.add(scalars_of(record(2)), step=2)
    assert points(run, "loss") == [(2, 2.0)]
    with pytest.raises(KeyError):
        points(run, "mfu")


def test_after_a_resume_no_step_is_there_twice(run: RunFolder) -> None:
    with closing(TensorBoardLog(run, resumed_step=0)) as log:
        for step in range(1, 9):
            log.add(scalars_of(record(step, loss=1.0)), step=step)
    with closing(TensorBoardLog(run, resumed_step=5)) as log:
        for step in range(6, 11):
            log.add(scalars_of(record(step, loss=3.0)), step=step)
    assert points(run, "loss") == [(s, 1.0 if s <= 5 else 3.0) for s in range(1, 11)]


def test_the_layout_sets_target_against_realized(run: RunFolder) -> None:
    with closing(TensorBoardLog(run, resumed_step=0)) as log:
        log.add(scalars_of(record(1)), step=1)
    accumulator = EventAccumulator(str(run.path / "tensorboard"))
    accumulator.Reload()
    tensor = accumulator.Tensors("custom_scalars__config__")[0].tensor_proto
    layout = layout_pb2.Layout.FromString(tensor.string_val[0])
    shares = next(c for c in layout.category if c.title == "target and realized share")
    assert {chart.title: list(chart.multiline.tag) for chart in shares.chart} == {
        "wiki": ["^share/wiki/(target|realized)$"],
        "a%2Bb%20%28c%29": ["^share/a%2Bb%20%28c%29/(target|realized)$"],
    }
