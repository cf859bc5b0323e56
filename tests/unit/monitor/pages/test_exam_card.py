"""Exams on a run's page: every score with its form, and files that appear while it is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from linly.monitor.history.follow import RunFollower
from linly.monitor.pages.exam_card import exam_card
from linly.runs.exam_results import write_exam
from tests.support.exam_records import RECORD
from tests.support.synthetic_run import SyntheticRun


def test_each_exam_has_its_form_scores_and_letters(tmp_path: Path) -> None:
    assert exam_card(tmp_path) == ""
    write_exam(tmp_path, replace(RECORD, micro_error=0.125, num_shortened=1))
    write_exam(tmp_path, replace(RECORD, steps=[40], micro=None))
    card = str(exam_card(tmp_path))
    for words in ("5-shot, 1 with fewer, harness", "50.0% ± 12.5", "25.0%", "A 100%", "anatomy"):
        assert words in card
    assert "Subjects of mmlu, 5-shot, step 40" in card


def test_names_stay_text_and_a_damaged_file_is_a_warning(tmp_path: Path) -> None:
    subjects = {"<b>x</b>": next(iter(RECORD.subjects.values()))}
    path = write_exam(tmp_path, replace(RECORD, subjects=subjects, delimiter="<i>"))
    card = str(exam_card(tmp_path))
    assert "<b>x" not in card and "<i>" not in card and "&lt;b&gt;x" in card
    path.write_text("[]")
    assert "not a record of an exam" in str(exam_card(tmp_path))


def test_a_page_that_is_open_sees_a_new_exam(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=10).whole()
    follower = RunFollower(run)
    before = follower.look().version
    assert follower.look().version == before
    write_exam(run, RECORD)
    assert follower.look().version > before
