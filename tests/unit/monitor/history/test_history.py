"""What is shown of a run is what its rows say, also after a crash and a resume."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.errors import ConfigError, TrainingError
from linly.monitor.history.headlines import headlines
from linly.monitor.history.history import read_history
from linly.monitor.history.recount import recount, recount_text
from linly.runs.runs import RunFolder
from tests.support.synthetic_run import SyntheticRun


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return SyntheticRun(tmp_path / "run").whole()


def rewrite_line(log: Path, index: int, change: dict[str, object]) -> None:
    lines = log.read_bytes().splitlines()
    lines[index] = orjson.dumps(orjson.loads(lines[index]) | change)
    log.write_bytes(b"\n".join(lines) + b"\n")


def test_columns_are_the_logged_steps(run: Path) -> None:
    history = read_history(run)
    assert history.step.tolist() == list(range(1, 501))
    assert history.groups == {
        "chinese": ("wiki2019zh",),
        "english": ("slimpajama",),
        "instruction": ("belle",),
    }
    assert history.sources == ("wiki2019zh", "slimpajama", "belle")
    assert history.rows.shape == history.planned_rows.shape == (500, 3)
    assert history.rows[-1].sum() == 500 * 16
    assert history.tokens_at(0) == 0
    assert history.tokens_at(10) == 10 * 16 * 256
    np.testing.assert_allclose(history.target_share.sum(axis=1), 1)
    assert [e.step for e in history.evaluations] == [0, 125, 250, 375, 500]
    assert history.skipped.nonzero()[0].tolist() == [300]
    assert history.quarantined == {("belle", "field output is empty"): 3, ("belle", "not JSON"): 2}
    assert history.machine["host"] == "node-1"


def test_a_source_without_a_value_is_nan_not_zero(run: Path) -> None:
    rewrite_line(run / "metrics.jsonl", 4, {"loss": None, "loss_by_source": {"belle": 1.5}})
    history = read_history(run)
    assert math.isnan(history.loss[4])
    assert np.isnan(history.loss_by_source[4]).tolist() == [True, True, False]


def test_after_crash_and_resume_the_counters_equal_the_rows(run: Path) -> None:
    recounted = recount(read_history(run))
    assert recounted.agrees
    assert recounted.num_rows == 8000
    assert recounted.last_step == 500
    assert "every counter agrees" in recount_text(recounted)


def test_rows_not_yet_written_are_no_difference(tmp_path: Path) -> None:
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.start()
    synthetic.train(1, 150)
    recounted = recount(read_history(tmp_path / "run"))
    assert recounted.agrees
    assert recounted.last_step == 100


@pytest.mark.parametrize(
    "key", ["rows_by_source", "supervised_tokens_by_source", "padding_by_source"]
)
def test_a_counter_that_lies_is_found(run: Path, key: str) -> None:
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    counters = orjson.loads(lines[41])[key]
    counters["belle"] += 1
    rewrite_line(run / "metrics.jsonl", 41, {key: counters})
    recounted = recount(read_history(run))
    (difference,) = recounted.differences
    assert (difference.step, difference.source) == (42, "belle")
    assert difference.logged == difference.recounted + 1
    assert "step 42: belle" in recount_text(recounted)


def test_a_resume_that_forgot_to_truncate_is_found(tmp_path: Path) -> None:
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.start()
    synthetic.train(1, 200)
    part = next(synthetic.folder.rows.glob("*-00000200.parquet"))
    table = pq.read_table(part)
    pq.write_table(pa.concat_tables([table, table.slice(0, 16)]), part)
    recounted = recount(read_history(tmp_path / "run"))
    assert recounted.repeated_rows == 16
    assert recounted.differences
    assert not recounted.agrees


def test_a_lost_part_is_found(run: Path) -> None:
    next((run / "rows").glob("step-00000101-*.parquet")).unlink()
    recounted = recount(read_history(run))
    assert recounted.missing_rows == 1600
    assert "1,600 rows are missing" in recount_text(recounted)


def test_a_half_written_last_line_is_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("ab") as log:
        log.write(b'{"step": 501, "loss": 2.')
    assert read_history(run).num_steps == 500


def test_a_run_without_steps_says_so(tmp_path: Path) -> None:
    RunFolder.create_or_open(tmp_path / "run")
    with pytest.raises(TrainingError, match="no step"):
        read_history(tmp_path / "run")
    with pytest.raises(ConfigError, match="no run at"):
        read_history(tmp_path / "other")


def test_a_path_that_is_no_run_is_answered_with_the_runs_near_it(run: Path) -> None:
    for path in (run.parent, run.parent / "other"):
        with pytest.raises(ConfigError, match=re.escape(f"runs: {run}")):
            read_history(path)


def test_a_source_that_the_curriculum_does_not_name_is_shown_too(tmp_path: Path) -> None:
    history = read_history(SyntheticRun(tmp_path / "run", num_steps=50, english="news").whole())
    assert history.groups["other"] == ("news",)
    assert "slimpajama" in history.sources


def test_time_is_that_of_the_steps(run: Path) -> None:
    expected = sum(16 * 256 / (2000 + 100 * math.sin(step)) for step in range(1, 501))
    assert read_history(run).training_s == pytest.approx(expected)


def test_speed_is_that_of_the_steps_that_were_computed(tmp_path: Path) -> None:
    """Steps that a fork passes over are drawn in no time: they would show as a burst."""
    run = SyntheticRun(tmp_path / "run").whole()
    log = run / "metrics.jsonl"
    metrics = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    for line in metrics[100:200]:
        line["tokens_per_second"] = None
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in metrics))
    history = read_history(run)
    assert np.isnan(history.tokens_per_second).nonzero()[0].tolist() == list(range(100, 200))
    computed = [16 * 256 / line["tokens_per_second"] for line in metrics[:100] + metrics[200:]]
    assert history.training_s == pytest.approx(sum(computed))
    assert history.mean_tokens_per_second == pytest.approx(400 * 16 * 256 / sum(computed))
    (tile,) = (tile for tile in headlines(history) if tile.label == "Time in steps")
    assert tile.detail == "at 2.00k tokens/s"
