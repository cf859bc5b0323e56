"""Files of an exam: what each holds is read from its name, and doubt is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.errors import DataError
from linly.exams.exam_files import find_exam_files
from linly.exams.exam_subjects import SUBJECTS


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no file of mmlu"),
        (["notes.md"], "no file of mmlu"),
        (
            ["test/anatomi_test.csv"],
            "'anatomi' is not one of the 57 subjects of mmlu; did you mean",
        ),
        (["anatomy.csv"], "neither its name nor its folder's says which split"),
        (["test/anatomy.csv", "test/anatomy.jsonl"], "several files hold its test questions"),
        (
            ["anatomy/test-00001-of-00002.parquet"],
            "parts of the test questions of anatomy are miss",
        ),
        (
            ["anatomy/test-00000-of-00001.parquet", "test/anatomy_test.csv"],
            "several files hold its test questions",
        ),
    ],
)
def test_files_in_doubt_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError) as error:
        find_exam_files(touch(tmp_path, *names), "mmlu")
    assert words in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such folder"):
        find_exam_files(tmp_path / "none", "mmlu")


def test_hidden_folders_and_copies_of_all_subjects_are_left_out(tmp_path: Path) -> None:
    names = ("data/test/anatomy_test.csv", ".cache/test/anatomy.csv", "all/test.parquet")
    found = find_exam_files(touch(tmp_path, *names), "mmlu")
    assert found == {("test", "anatomy"): (tmp_path / names[0],)}


def test_subjects_are_as_many_as_the_exams_have() -> None:
    assert {exam: len(subjects) for exam, subjects in SUBJECTS.items()} == {
        "mmlu": 57,
        "cmmlu": 67,
        "ceval": 52,
        "agieval": 19,
    }
