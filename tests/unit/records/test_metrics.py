"""Every metric of the table is written by a run, read back, shown or named as hidden, exported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from linly.config.sections.tracker_sections import WandbSettings
from linly.config.sections.watching_sections import AlarmSettings
from linly.monitor.charts.charts import run_charts
from linly.monitor.history.history import read_history
from linly.monitor.pages.page import page_parts
from linly.records.before_after import results_by_language
from linly.records.evaluation_record import (
    EvaluationRecord,
    LanguageEvaluation,
    NewPieceStatistics,
    SourceEvaluation,
)
from linly.records.metrics import AlarmRule, Hidden, Line, MeasuredRecord, Within, metrics_of
from linly.records.step_record import StepRecord
from linly.records.task_record import TaskEvaluation
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.scalars import key_of, scalars_of
from linly.training.recording.trackers.tensorboard import TensorBoardLog
from linly.training.recording.trackers.wandb_log import WandbLog
from tests.support.synthetic_run import SyntheticRun
from tests.support.wandb_file import read_history as read_wandb

RECORDS: tuple[type[MeasuredRecord], ...] = (
    StepRecord,
    EvaluationRecord,
    SourceEvaluation,
    LanguageEvaluation,
    NewPieceStatistics,
    TaskEvaluation,
)
METRICS = [(record, key) for record in RECORDS for key in metrics_of(record)]
NUM_STEPS = 24


@dataclass(frozen=True)
class Recorded:
    """A run and all that was recorded of it.

    Attributes:
        steps: Steps as they were given to the run folder.
        evaluations: Evaluations likewise.
        shown: Keys of the charts and of the page's parts that are not empty.
        exported: Values in TensorBoard and in the file of Weights & Biases, by tag.
    """

    steps: list[StepRecord]
    evaluations: list[EvaluationRecord]
    run: RunFolder
    shown: set[str]
    exported: tuple[dict[str, list[float]], dict[str, list[float]]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("runs")
    synthetic = RunFolder.open(SyntheticRun(folder / "synthetic", num_steps=NUM_STEPS).whole())
    steps = [complete(step) for step in synthetic.read_steps()]
    evaluations = list(synthetic.read_evaluations())
    first = evaluations[0].sources
    evaluations = [
        replace(found, languages=results_by_language(first, found.sources)) for found in evaluations
    ]
    run = RunFolder.create_or_open(folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        settings = WandbSettings(project="metrics", mode="offline")
        logs = (
            TensorBoardLog(run, resumed_step=0),
            WandbLog(run, settings, resumed_step=0, recipe={}),
        )
        for record in (evaluations[0], *steps, evaluations[-1]):
            for log in logs:
                log.add(scalars_of(record), step=record.step)
        for log in logs:
            log.close()
    for step in steps:
        run.append_step(step)
    for evaluation in evaluations:
        run.append_evaluation(evaluation)
    history = read_history(run.path)
    charts = run_charts(history)
    parts = {name for name, html in page_parts(history, charts).items() if html}
    shown = parts | {chart.key for chart in charts}
    yield Recorded(steps, evaluations, run, shown, (in_tensorboard(run), in_wandb(run)))
    run.close()


def complete(step: StepRecord) -> StepRecord:
    """The step with a number in every metric that it lacks."""
    missing = {key: getattr(step, key) for key in stored(StepRecord) if not getattr(step, key)}
    numbers: dict[str, Any] = {
        key: dict.fromkeys(step.rows_by_source, 0.5) if value == {} else 0.5
        for key, value in missing.items()
        if value is None or value == {}
    }
    return replace(step, **numbers)


def stored(record: type[Any]) -> list[str]:
    """Metrics that are fields, not computed from others."""
    return [field.name for field in fields(record) if field.name in metrics_of(record)]


def in_tensorboard(run: RunFolder) -> dict[str, list[float]]:
    board = EventAccumulator(str(run.path / "tensorboard"))
    board.Reload()
    return {tag: [event.value for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def in_wandb(run: RunFolder) -> dict[str, list[float]]:
    (file,) = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    found: dict[str, list[float]] = {}
    for line in read_wandb(file):
        for key, value in line.items():
            found.setdefault(key, []).append(value)
    return found


def values_of(recorded: Recorded, record: type[MeasuredRecord], key: str) -> dict[str, float]:
    """Last value of a metric by tag."""
    last = recorded.evaluations[-1]
    assert last.new_pieces is not None
    owners: dict[type[MeasuredRecord], Mapping[str, MeasuredRecord]] = {
        StepRecord: {"": recorded.steps[-1]},
        EvaluationRecord: {"": last},
        SourceEvaluation: last.sources,
        LanguageEvaluation: last.languages,
        NewPieceStatistics: {"": last.new_pieces},
        TaskEvaluation: last.tasks,
    }
    tag = metrics_of(record)[key].tag
    assert tag is not None
    found = {}
    for owner, one in owners[record].items():
        value = getattr(one, key)
        by_name = value if isinstance(value, Mapping) else {owner: value}
        found |= {
            tag.format(key_of(name)): float(number)
            for name, number in by_name.items()
            if number is not None  # an exam has other figures than the probe
        }
    return found


def test_records_are_read_back_as_they_were_written(recorded: Recorded) -> None:
    assert list(recorded.run.read_steps()) == recorded.steps
    assert list(recorded.run.read_evaluations()) == recorded.evaluations


@pytest.mark.parametrize(("record", "key"), METRICS)
def test_a_metric_is_shown_or_says_why_not(
    recorded: Recorded, record: type[MeasuredRecord], key: str
) -> None:
    shown = metrics_of(record)[key].shown
    if isinstance(shown, Hidden):
        assert shown.reason
    elif isinstance(shown, Within):
        assert shown.part in recorded.shown
    else:
        assert isinstance(shown, Line)
        assert key.replace("_", "-") in recorded.shown


@pytest.mark.parametrize(("record", "key"), METRICS)
def test_a_metric_with_a_tag_is_exported(
    recorded: Recorded, record: type[MeasuredRecord], key: str
) -> None:
    if metrics_of(record)[key].tag is None:
        return
    expected = values_of(recorded, record, key)
    assert expected
    for tag, value in expected.items():
        for program in recorded.exported:
            assert program[tag][-1] == pytest.approx(value, rel=1e-5), tag


@pytest.mark.parametrize("record", RECORDS)
def test_the_docstring_describes_every_field(record: type[Any]) -> None:
    described = re.findall(r"^        (\w+): ", record.__doc__ or "", re.MULTILINE)
    assert described == [field.name for field in fields(record)]


def test_no_two_metrics_share_a_tag() -> None:
    tags = [metrics_of(record)[key].tag for record, key in METRICS if key != "tokens_seen"]
    exported = [tag for tag in tags if tag is not None]
    assert len(set(exported)) == len(exported)


def test_each_alarm_rule_watches_a_metric_and_has_a_threshold() -> None:
    watched = {metrics_of(record)[key].alarm for record, key in METRICS} - {None}
    assert watched == set(get_args(AlarmRule))
    assert watched <= set(AlarmSettings.model_fields)
