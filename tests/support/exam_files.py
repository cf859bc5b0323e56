"""Exams for tests, in the layouts of MMLU, CMMLU and C-Eval."""

from __future__ import annotations

import csv
from pathlib import Path

from linly.exams.question import LETTERS

Row = tuple[str, str, str, str, str, str]


def exam_rows(num: int, *, word: str = "house") -> list[Row]:
    """Questions with their choices and answer; the right letter goes round."""
    return [
        (
            f"the {word} {index} is\nred",
            f"a {index}",
            f"b {index}",
            f"c, {index}",
            "d",
            LETTERS[index % 4],
        )
        for index in range(num)
    ]


def write_mmlu(folder: Path, num: int = 6, subjects: tuple[str, ...] = ("anatomy",)) -> Path:
    """MMLU's CSV files without header, with five examples."""
    for subject in subjects:
        _write(folder / "dev" / f"{subject}_dev.csv", [], exam_rows(5, word="dog"))
        _write(folder / "test" / f"{subject}_test.csv", [], exam_rows(num, word=subject))
    return folder


def write_cmmlu(folder: Path, num: int = 6, subjects: tuple[str, ...] = ("agronomy",)) -> Path:
    """CMMLU's CSV files, with an index."""
    header = ["", "Question", "A", "B", "C", "D", "Answer"]
    for subject in subjects:
        for split, rows in (("dev", exam_rows(5, word="狗")), ("test", exam_rows(num, word="猫"))):
            indexed = [(str(index), *row) for index, row in enumerate(rows)]
            _write(folder / split / f"{subject}.csv", header, indexed)
    return folder


def write_ceval(folder: Path, num: int = 6, subjects: tuple[str, ...] = ("accountant",)) -> Path:
    """C-Eval's CSV files; the test's answers are secret."""
    header = ["id", "question", "A", "B", "C", "D", "answer"]
    for subject in subjects:
        for split, rows in (("dev", exam_rows(5)), ("val", exam_rows(num)), ("test", exam_rows(3))):
            indexed = [(str(index), *row) for index, row in enumerate(rows)]
            if split == "test":
                _write(
                    folder / split / f"{subject}_{split}.csv",
                    header[:-1],
                    [row[:-1] for row in indexed],
                )
            else:
                _write(folder / split / f"{subject}_{split}.csv", header, indexed)
    return folder


def _write(path: Path, header: list[str], rows: list[tuple[str, ...]] | list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows] if header else rows)
