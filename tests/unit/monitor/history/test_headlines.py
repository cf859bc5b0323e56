"""Figures in words, as short as they can be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from linly.curriculum.deadlines import drift_bound
from linly.monitor.history.headlines import headlines
from linly.monitor.history.history import read_history
from linly.monitor.history.shares import realized_and_planned
from linly.monitor.number_words import count, duration, percent
from tests.support.synthetic_run import SyntheticRun


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.7, "1.00k"),
        (40_000, "40.0k"),
        (1_310_000, "1.31M"),
        (9_996_000, "10.0M"),
        (999_600_000, "1.00B"),
        (5e9, "5.00B"),
        (2.5e12, "2.50T"),
    ],
)
def test_a_count_has_three_digits(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.24, "8.2 s"), (750, "12 min 30 s"), (7260, "2 h 1 min"), (273_600, "3 d 4 h")],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_change_has_its_sign() -> None:
    assert percent(0.018) == "+1.8%"
    assert percent(-0.318) == "−31.8%"
    assert percent(math.nan) == "–"


def test_the_bound_is_that_of_the_apportionment() -> None:
    assert [drift_bound(k) for k in (1, 2, 3, 11)] == [0.0, 0.5, 0.75, 0.95]


def test_what_got_worse_and_a_broken_bound_are_marked(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 250)
    tones = {figure.label: figure.tone for figure in headlines(read_history(tmp_path / "run"))}
    assert tones["Chinese, bits per byte"] == "good"
    assert tones["English, bits per byte"] == "bad"
    assert tones["Mixture"] == "plain"
    run.rows["belle"] += 3
    run.train(251, 251)
    shown = {figure.label: figure for figure in headlines(read_history(tmp_path / "run"))}
    assert (shown["Mixture"].value, shown["Mixture"].tone) == ("off plan", "bad")


def test_results_come_first_and_drift_last(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run").whole()
    labels = [figure.label for figure in headlines(read_history(run))]
    assert labels[0] == "Chinese, bits per byte"
    assert labels[-1] == "Mixture"


def test_a_young_run_shows_its_loss(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 1)
    first = headlines(read_history(run.path))[0]
    assert first.label == "Training loss"
    assert first.value in first.detail  # the only step is the first


def test_time_left_counts_the_steps_to_come(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 200)
    left = next(f for f in headlines(read_history(run.path)) if f.label == "Time left")
    assert left.value == duration(300 * 16 * 256 / 2000)  # the synthetic tokens per second
    run.train(201, 500)
    labels = [figure.label for figure in headlines(read_history(run.path))]
    assert "Time left" not in labels
    assert "Time in steps" in labels


def test_a_run_that_ended_early_has_no_time_left(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 200)
    run.note(200, "end", "source belle is used up")
    history = read_history(run.path)
    assert history.is_finished
    assert "Time left" not in [figure.label for figure in headlines(history)]
    assert not realized_and_planned(history).has_future
