"""Exams in a run's folder: read back as written, removed with the steps that a resume drops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from linly.errors import TrainingError
from linly.runs.exam_results import exam_files, read_exams, write_exam
from linly.runs.runs import RunFolder
from tests.support.exam_records import RECORD


def test_records_are_read_back_and_one_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    write_exam(tmp_path, RECORD)
    write_exam(tmp_path, replace(RECORD, model="again"))
    others = (replace(RECORD, steps=[20, 40]), replace(RECORD, limit=3, form="authors"))
    for other in others:
        write_exam(tmp_path, other)
    assert len(exam_files(tmp_path)) == 3
    found = list(read_exams(tmp_path))
    assert replace(RECORD, model="again") in found
    assert all(other in found for other in others)


def test_a_resume_removes_the_exams_of_later_checkpoints(tmp_path: Path) -> None:
    run = RunFolder.create_or_open(tmp_path / "run")
    for steps in ([10], [20], [10, 30]):
        write_exam(run.path, replace(RECORD, steps=steps))
    run.truncate(20)
    assert sorted(record.steps for record in read_exams(run.path)) == [[10], [20]]
    run.truncate(-1)
    assert list(read_exams(run.path)) == []


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = write_exam(tmp_path, RECORD)
    path.write_text("{}")
    with pytest.raises(TrainingError, match=r"step-00000020_mmlu_5-shot\.json: not a record"):
        list(read_exams(tmp_path))
