"""The worked examples of CONTRIBUTING.md do what they say, applied to a copy of the package."""

from __future__ import annotations

from pathlib import Path

from tests.support.examples import followed, run_tests


def test_a_metric_takes_two_files(tmp_path: Path) -> None:
    files = followed("Add a metric", tmp_path)
    assert len(files) == 2
    output = run_tests(
        tmp_path,
        "-vv",
        "tests/unit/records/test_metrics.py",
        "tests/unit/training/recording/test_plotted_run.py::test_a_run_writes_every_metric",
    )
    for promise in ("is_shown_or_says_why_not", "with_a_tag_is_exported"):
        assert f"test_a_metric_{promise}[StepRecord-supervised_fraction] PASSED" in output
